"""What an undisturbed run makes of some photographs, and what a killed one has left of them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from PIL import Image

from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import read_results
from pipeline.ledger.run_file import open_run
from pipeline.provenance.premis import PREMIS
from pipeline.review.pages import PAGE
from pipeline.run.options import RecipeOptions, Resources, method_of
from pipeline.run.request import Job, prepare_job
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.storage.base import Storage
from pipeline.storage.local import PARTIAL, LocalStorage
from pipeline.storage.open_storage import open_storage
from pipeline.storage.probe import PROBE
from pipeline.verify import prune, verify

REPOSITORY = Path(__file__).resolve().parents[1]
# Columns that say when a row was made, and where to; all others are the same however often.
PASSING = {"read_seconds", "model_seconds", "write_seconds", "finished_at", "output_uri"}
FOLDERS = ("images", "report/previews")  # sidecars are beside images


@dataclass(frozen=True)
class Kill:
    """kind: one of killing.VICTIMS. phase: what its command did, in its own words. at_work: the
    process had something to do. half: a file was written at that moment. paired: another process
    was killed at the same moment."""

    kind: str
    phase: str
    place: str  # folder or bucket
    at_work: bool = True
    half: bool = False
    paired: bool = False


@dataclass
class Tally:
    """What happened to runs, and what they left; what `faults` returns should stay empty.

    failed: photos whose row is no success. differing: files (images, sidecars, previews) and values
    of rows that are not those of an undisturbed run. findings: of `verify`, but for what kills
    leave of writes that they cut off (partial_files) and `--prune` deletes. strange: lines on the
    screen that are not ours. left_behind: processes that outlived their command by a minute.
    left_files: what commands left in folders for temporary files, but for what the next command
    there removes. longest_wait: seconds without a commit or a kill, starts of commands included.
    """

    kills: list[Kill] = field(default_factory=list)
    commands: int = 0
    runs: int = 0
    photos: int = 0
    partial_files: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    left_files: list[str] = field(default_factory=list)
    endings: Counter[int] = field(default_factory=Counter)  # exit codes
    longest_wait: float = 0.0

    def of_kind(self, kind: str) -> list[Kill]:
        return [kill for kill in self.kills if kill.kind == kind]

    def faults(self) -> dict[str, list[str]]:
        names = (
            *("lost", "duplicated", "failed", "differing", "findings", "strange"),
            *("left_behind", "left_files"),
        )
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Archive:
    """Photos, weights, and what an undisturbed run makes of them: files by path, rows by photo."""

    source: Path
    weights: Path
    shard_size: int
    files: dict[str, bytes]
    rows: dict[str, dict[str, Any]]


def make_archive(folder: Path, photos: int, weights: Path, shard_size: int) -> Archive:
    """Small photographs, cut out of an example, and what an undisturbed run makes of them."""
    source = folder / "photos"
    source.mkdir()
    with Image.open(REPOSITORY / "examples/photos/animals/cat.jpg") as cat:
        for number in range(photos):
            left, suffix = 2 * number, ("jpg", "png", "tif")[number % 3]
            crop = cat.convert("L").crop((left, left, left + 96, left + 72))
            crop.save(source / f"{number:03d}.{suffix}")
    return undisturbed(source, weights, RecipeOptions(shard_size=shard_size, sidecar=True))


def undisturbed(source: Path, weights: Path, options: RecipeOptions) -> Archive:
    """With what a run without Ray leaves, to which nothing happens."""
    with TemporaryDirectory() as folder:
        job = prepare_job(str(source), LocalStorage(folder), options, Resources(str(weights)))
        carry_out(job)
        rows = {row["photo"]: lasting(row) for row in all_rows(job.destination)}
        size = job.run.plan.shard_size
        return Archive(source, weights, size, made_files(job.destination), rows)


def carry_out(job: Job) -> None:
    """Do all shards of a new plan in this process, without Ray."""
    from model.colorizer import Colorizer

    recipe, resources = job.run.recipe, job.resources
    colorizer = Colorizer.load(resources.weights, "cpu", resources.batch_size, method_of(recipe))
    for shard in Schedule(job.destination, job.run).open():
        read = read_shard(shard, job.source, job.sizes)
        colored = colorize_shard(read, colorizer, recipe, "cpu")
        write_shard(shard.number, colored, job.source, job.destination, job.run)


def made_files(storage: Storage) -> dict[str, bytes]:
    return {each.path: storage.read(each.path) for place in FOLDERS for each in storage.list(place)}


def all_rows(storage: Storage) -> list[dict[str, Any]]:
    return pa.concat_tables(read_results(storage, open_run(storage))).to_pylist()


def lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in PASSING}


def check(archive: Archive, destination: str, tally: Tally) -> None:
    """Compare what a run has left with what it should have."""
    storage, source = open_storage(destination), LocalStorage(str(archive.source))
    run, rows = open_run(storage), all_rows(open_storage(destination))
    counts = Counter(row["photo"] for row in rows)
    planned = [photo.path for photo in source.list()]
    tally.runs, tally.photos = tally.runs + 1, tally.photos + len(planned)
    tally.lost += [photo for photo in planned if not counts[photo]]
    tally.duplicated += [photo for photo, count in counts.items() if count > 1]
    tally.failed += [f"{row['photo']}: {row['reason']}" for row in rows if row["status"] != "ok"]
    findings = verify(source, storage, run)
    orphans = [problem.path.rpartition("/")[2] for problem in findings.of_kind("orphan")]
    cut_off = [name for name in orphans if PARTIAL.fullmatch(name) or name.startswith(PROBE)]
    tally.partial_files += len(cut_off)
    tally.findings += sorted(set(orphans) - set(cut_off))
    prune(storage, findings)
    tally.findings += [f"{each.kind} {each.path}" for each in verify(source, storage, run).problems]
    there = {each.path for each in storage.list()}
    own = {"images", "plan", PREMIS, "report", "results", "run.json"}
    tally.findings += sorted({path.split("/")[0] for path in there} - own)
    tally.findings += [f"no {path}" for path in sorted({PAGE, PREMIS} - there)]
    files = made_files(storage)
    tally.differing += [
        path
        for path in sorted(files.keys() | archive.files.keys())
        if files.get(path) != archive.files.get(path)
    ]
    tally.differing += [
        f"{row['photo']}: {name} is {value!r}"
        for row in rows
        for name, value in lasting(row).items()
        if row["photo"] in archive.rows and archive.rows[row["photo"]][name] != value
    ]
