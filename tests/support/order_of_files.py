"""In which order files of tests run, and which of them one process runs as a whole."""

from xdist.scheduler import LoadFileScheduling

# Files that share a Ray of this machine. Every process that gets one of them starts one, for 12 CPU
# seconds (support/local_ray.py): so there are two rows, of about the same length.
SHARED_RAYS = (
    ("test_end_to_end", "test_durability", "test_document_examples", "test_hints"),
    ("test_interrupted", "test_train_command", "test_train_all", "test_train", "test_metrics"),
)
# Each row is given to one process as a whole, as is what shares an import of TensorFlow, or servers
# of buckets in processes of their own: seconds each.
ROWS = (
    *SHARED_RAYS,
    ("test_convert_command", "test_golden"),
    ("test_storage", "test_probe"),
)
# Files that wait for clusters and killed processes for a minute or more, which `make test-fast`
# leaves out.
LONGEST = (
    *SHARED_RAYS[0][:3],  # all but those of which a test or two take long
    *SHARED_RAYS[1],
    *("test_chaos", "test_simulated_clusters", "test_submit_command"),
)
# What comes first, so that at the end all processes have work, and none is waited for. A process is
# given its next file when it has two tests left, which may be long ones: so a file of many short
# ones stands behind clusters, else the process that has them would get all three of their files.
FIRST = (
    *(*LONGEST[:-1], "test_imaging", LONGEST[-1]),
    *("test_forecast", "test_greedy_photo", "test_sampling", "test_interrupts"),
    *("test_shard_faults", "test_training", "test_session_folder", "test_stage_training"),
    *("test_gpu_benchmark", "test_dist", "test_tones", "test_evaluate_command", "test_workers"),
    *("test_awkward_files", "test_review", "test_updates", "test_storage", "test_watermark"),
)


class SharedRayScheduling(LoadFileScheduling):
    """A file at a time, as `--dist loadfile` does, but for files of a row."""

    def _split_scope(self, nodeid: str) -> str:
        """What is handed out together; pytest-xdist has its own schedulers answer this, too."""
        file = super()._split_scope(nodeid)
        name = file.rpartition("/")[2].removesuffix(".py")
        return next((row[0] for row in ROWS if name in row), file)
