"""In which order files of tests run, and which of them one process runs as a whole."""

from xdist.scheduler import LoadFileScheduling

# Files that share a Ray of this machine. Every process that gets one of them starts one, for 12 CPU
# seconds (support/local_ray.py): so there are two rows, of about the same length, and each of them
# is given to one process as a whole.
SHARED_RAYS = (
    ("test_end_to_end", "test_durability", "test_document_examples", "test_hints"),
    ("test_interrupted", "test_train_command", "test_train_all", "test_train"),
)
# Files that wait for clusters and killed processes for a minute or more. They come first, so that
# none of them is what the others are waited for at the end.
LONGEST = (
    *SHARED_RAYS[0][:3],  # all but those of which a test or two take long
    *SHARED_RAYS[1],
    *("test_simulated_clusters", "test_submit_command", "test_chaos"),
)
# What comes next, for half a minute or so: at the end, too, all processes shall have work.
LONG = (
    *("test_forecast", "test_imaging", "test_greedy_photo", "test_sampling", "test_interrupts"),
    *("test_shard_faults", "test_training", "test_session_folder", "test_stage_training"),
    *("test_gpu_benchmark", "test_dist", "test_tones"),
)


class SharedRayScheduling(LoadFileScheduling):
    """A file at a time, as `--dist loadfile` does, but for files that share a Ray."""

    def _split_scope(self, nodeid: str) -> str:
        """What is handed out together; pytest-xdist has its own schedulers answer this, too."""
        file = super()._split_scope(nodeid)
        name = file.rpartition("/")[2].removesuffix(".py")
        return next((row[0] for row in SHARED_RAYS if name in row), file)
