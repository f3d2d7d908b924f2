"""Real commands that are killed at random, started again until all is done, and what they leave.

Each command runs in a session of its own, which all that it starts belongs to, Ray's daemons and
workers included: so no process of anyone else can be a victim. Linux only, as it reads /proc.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pyarrow as pa
from PIL import Image

from pipeline.errors import ObjectMissing
from pipeline.ledger.plan import Schedule
from pipeline.ledger.results import committed_shards, read_results
from pipeline.ledger.run_file import load_run, open_run
from pipeline.run.listener import Phase
from pipeline.run.options import RecipeOptions, Resources, method_of
from pipeline.run.request import prepare_job
from pipeline.run.steps import colorize_shard, read_shard, write_shard
from pipeline.storage.base import Storage
from pipeline.storage.local import PARTIAL, LocalStorage
from pipeline.storage.open_storage import open_storage
from pipeline.storage.probe import PROBE
from pipeline.verify import prune, verify

REPOSITORY = Path(__file__).resolve().parents[1]
# What may be killed, and how often `choose_victims` takes it. Processes of pipeline.run.isolation
# are spared: one that is killed is a photo's own failure, by design.
VICTIMS = {
    "driver": 3,
    "raylet": 2,
    "control store": 1,  # Ray's own: the GCS
    "actor": 6,
    "reader": 4,
    "writer": 4,
    "idle worker": 2,
    "helper": 2,  # actors of Ray Data that hold statistics and the like
    "session": 3,  # all that a command has started, and itself, as when a machine fails
}
# Columns that say when a row was made, and where to; all others are the same however often.
PASSING = {"read_seconds", "model_seconds", "write_seconds", "finished_at", "output_uri"}
FOLDERS = ("images", "report/previews")  # sidecars are beside images
LOOK_SECONDS = 0.5  # between listings of a store, which are work for it
# The line of the watchdog among them: on a busy machine minutes may pass without a commit.
OUR_LINE = re.compile(
    r"[\d,]+ of [\d,]+ photos(, .*)?|no shard was done for \d+ s .*|autochrome: .*|"
    + r"|".join(get_args(Phase))
)
PATIENCE = 2.0  # seconds for a kind of victim to appear, else another is chosen
STALL = 600.0  # seconds without a commit or a kill after which a run is given up
# Of commands: done, Ray died (its raylet or control store), done in part, killed.
ENDINGS = (0, 1, 3, -signal.SIGKILL)


class Stalled(Exception):
    """No commit for a long time, or an end that no kill explains; the text tells more."""


@dataclass
class Tally:
    """What happened to runs, and what they left; all but the first five should stay empty.

    failed: photos whose row is no success. differing: files (images, sidecars, previews) and values
    of rows that are not those of an undisturbed run. findings: of `verify`, but for what kills
    leave of writes that they cut off (partial_files) and `--prune` deletes. strange: lines on the
    screen that are not ours.
    left_behind: processes that outlived their command by a minute. longest_wait: seconds without
    a commit or a kill, starts of commands included.
    """

    kills: Counter[str] = field(default_factory=Counter)
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
    endings: Counter[int] = field(default_factory=Counter)  # exit codes
    longest_wait: float = 0.0

    def faults(self) -> dict[str, list[str]]:
        names = ("lost", "duplicated", "failed", "differing", "findings", "strange", "left_behind")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Archive:
    """Photos, weights, and what an undisturbed run makes of them: files by path, rows by photo."""

    source: Path
    weights: Path
    shard_size: int
    files: dict[str, bytes]
    rows: dict[str, dict[str, Any]]


@dataclass
class _Moment:
    """When to kill next: after so many commits in all, and so many seconds since `since`."""

    commits: int
    seconds: float
    since: float


class Command:
    """`autochrome colorize`, in a session of its own; `number` is that of its leader."""

    def __init__(self, arguments: Sequence[str], log: Path, ray_folder: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), *sys.path])),
            "RAY_TMPDIR": str(ray_folder),
            "RAY_worker_niceness": "0",  # else whatever else runs here starves the workers
        }
        self.log = log
        with open(log, "w") as file:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from jobs.main import main; main()"),
                    *("colorize", *arguments),
                ],
                cwd=REPOSITORY,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        self.number = self._process.pid

    def exit_code(self) -> int | None:
        return self._process.poll()

    def strange_lines(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if not OUR_LINE.fullmatch(line)]


def choose_victims(kills: int, random: Random) -> list[str]:
    return random.choices(list(VICTIMS), list(VICTIMS.values()), k=kills)


def members(session: int) -> Iterator[tuple[int, str]]:
    """Processes of a session that live, each with its title."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):  # gone meanwhile
                state, _, _, own, *_ = (place / "stat").read_text().rpartition(")")[2].split()
                if int(own) == session and state not in "ZX":
                    title = (place / "cmdline").read_bytes().split(b"\0")[0]
                    yield int(place.name), title.decode(errors="replace")


def kind_of(process: int, title: str, session: int) -> str | None:
    """One of VICTIMS; None for what is none of them."""
    starts = {
        "ray::MapWorker(Map(ColorizeActor))": "actor",
        "ray::Map(read_row)": "reader",
        "ray::Map(write_row)": "writer",
        "ray::IDLE": "idle worker",
        "ray::_": "helper",
        "ray::ActorLocationTracker": "helper",
    }
    if process == session:
        return "driver"
    if title.endswith("/raylet"):
        return "raylet"
    if title.endswith("/gcs_server"):
        return "control store"
    return next((kind for start, kind in starts.items() if title.startswith(start)), None)


def kill_one(session: int, kind: str, random: Random) -> bool:
    """SIGKILL to a process of this kind, or to all; False where there is none."""
    if kind == "session":
        return kill_session(session)
    found = sorted(
        process for process, title in members(session) if kind_of(process, title, session) == kind
    )
    if not found:
        return False
    return _kill(random.choice(found), session)


def kill_session(session: int) -> bool:
    """SIGKILL to all of a session until none is left; False where none was."""
    if not any(members(session)):
        return False
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)  # its leader's group, at one blow; then all others
    while processes := [process for process, _ in members(session)]:
        for process in processes:
            _kill(process, session)
    return True


def _kill(victim: int, session: int) -> bool:
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(victim)
        try:
            if os.getsid(victim) == session:  # its number is not that of another meanwhile
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


class KilledRun:
    """One destination, and the commands that work on it at the same time."""

    def __init__(
        self,
        archive: Archive,
        destination: str,
        random: Random,
        tally: Tally,
        actors: str = "1:2",
    ) -> None:
        """destination: a folder, or s3://bucket/prefix. actors: as the option."""
        self._archive, self._destination = archive, open_storage(destination)
        self._random, self._tally = random, tally
        self._arguments = [
            *(str(archive.source), destination, "--weights", str(archive.weights), "--sidecar"),
            *("--shard-size", str(archive.shard_size), "--actors", actors),
        ]
        self._commits, self._news, self._looked = 0, time.monotonic(), 0.0
        self._sessions: list[int] = []

    def finish(self, victims: list[str], commands: int) -> None:
        """Run so many commands at once, again and again, until all is committed.

        victims: kinds of processes to be killed, in this order where possible; taken from the list
        as it is done. Raises Stalled.
        """
        # A short path, as Ray's sockets are below it.
        with TemporaryDirectory(prefix="killed-", ignore_cleanup_errors=True) as place:
            try:
                self._finish(victims, [None] * commands, Path(place))
            except BaseException:
                self._end_processes(patience=0)
                raise
            self._end_processes(patience=60)

    def _finish(self, victims: list[str], slots: list[Command | None], place: Path) -> None:
        moment = self._next_moment()
        while True:
            self._look(slots)
            complete = self.complete()
            for number, command in enumerate(slots):
                if command and command.exit_code() is not None:
                    self._note_end(command)
                    slots[number] = command = None
                if not command and not complete:
                    slots[number] = self._start(place)
            living = [command for command in slots if command]
            if not living:
                return
            if victims and self._due(moment):
                if self._strike(victims[0], self._random.choice(living)):
                    victims.pop(0)
                    moment = self._next_moment()
                elif time.monotonic() > moment.since + moment.seconds + PATIENCE:
                    victims.append(victims.pop(0))
                    moment = self._next_moment()
            time.sleep(0.02)

    def complete(self) -> bool:
        """Whether each shard is committed."""
        run = load_run(self._destination) if self._commits else None
        return run is not None and self._commits == run.plan.shards

    def _start(self, place: Path) -> Command:
        self._tally.commands += 1
        command = Command(self._arguments, place / f"{self._tally.commands}.log", place)
        self._sessions.append(command.number)
        return command

    def _note_end(self, command: Command) -> None:
        code = command.exit_code()
        assert code is not None
        self._tally.endings[code] += 1
        self._tally.strange += command.strange_lines()
        if code not in ENDINGS:
            raise Stalled(f"exit code {code}:\n{command.log.read_text()}")

    def _next_moment(self) -> _Moment:
        # Some at once, while a run starts; most between commits.
        commits = self._commits + self._random.choice([0, 0, 1, 1, 2])
        return _Moment(commits, self._random.uniform(0, 0.2), time.monotonic())

    def _due(self, moment: _Moment) -> bool:
        now = time.monotonic()
        if self._commits < moment.commits:
            moment.since = now
        return now >= moment.since + moment.seconds

    def _strike(self, kind: str, command: Command) -> bool:
        if not kill_one(command.number, kind, self._random):
            return False
        self._tally.kills[kind] += 1
        self._told()
        return True

    def _look(self, slots: list[Command | None]) -> None:
        if time.monotonic() < self._looked + LOOK_SECONDS and "://" in self._destination.uri:
            return
        self._looked, commits = time.monotonic(), 0
        with suppress(ObjectMissing):  # a folder that is made with the first write
            commits = len(committed_shards(self._destination))
        if commits > self._commits:
            self._commits = commits
            self._told()
        if time.monotonic() > self._news + STALL:
            lines = [
                f"{process} {title}"
                for session in self._sessions
                for process, title in members(session)
            ]
            logs = [command.log.read_text() for command in slots if command]
            raise Stalled("\n".join([f"{commits} commits, then nothing:", *lines, *logs]))

    def _told(self) -> None:
        now = time.monotonic()
        self._tally.longest_wait = max(self._tally.longest_wait, now - self._news)
        self._news = now

    def _end_processes(self, patience: float) -> None:
        """What a killed command leaves ends by itself; what does not is noted, and ended."""
        until = time.monotonic() + patience
        for session in self._sessions:
            while (left := list(members(session))) and time.monotonic() < until:
                time.sleep(0.05)
            for process, title in left:
                self._tally.left_behind.append(title)
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def make_archive(folder: Path, photos: int, weights: Path, shard_size: int) -> Archive:
    """Small photographs, cut out of an example, and what an undisturbed run makes of them."""
    source = folder / "photos"
    source.mkdir()
    with Image.open(REPOSITORY / "examples/photos/animals/cat.jpg") as cat:
        for number in range(photos):
            left, suffix = 2 * number, ("jpg", "png", "tif")[number % 3]
            crop = cat.convert("L").crop((left, left, left + 160, left + 120))
            crop.save(source / f"{number:03d}.{suffix}")
    return undisturbed(source, weights, RecipeOptions(shard_size=shard_size, sidecar=True))


def undisturbed(source: Path, weights: Path, options: RecipeOptions) -> Archive:
    """With what a run without Ray leaves, to which nothing happens."""
    from model.colorizer import Colorizer

    with TemporaryDirectory() as folder:
        resources = Resources(str(weights))
        job = prepare_job(str(source), LocalStorage(folder), options, resources)
        recipe = job.run.recipe
        colorizer = Colorizer.load(weights, "cpu", job.resources.batch_size, method_of(recipe))
        for shard in Schedule(job.destination, job.run).open():
            read = read_shard(shard, job.source, job.sizes)
            colored = colorize_shard(read, colorizer, job.run.recipe, "cpu")
            write_shard(shard.number, colored, job.source, job.destination, job.run)
        rows = {row["photo"]: lasting(row) for row in all_rows(job.destination)}
        size = job.run.plan.shard_size
        return Archive(source, weights, size, made_files(job.destination), rows)


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
    own = {"images", "plan", "premis.xml", "report", "results", "run.json"}
    tally.findings += sorted({each.path.split("/")[0] for each in storage.list()} - own)
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
