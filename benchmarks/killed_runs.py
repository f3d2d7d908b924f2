"""Real commands that are killed at random, and started again until all is done."""

import json
import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from colorize_command import OWN_FOLDERS, Command
from compared_runs import Archive, Kill, Tally
from killing import ENDING, kill_one, kinds_in, members
from pipeline.errors import ObjectMissing
from pipeline.ledger.results import committed_shards
from pipeline.ledger.run_file import load_run
from pipeline.storage.lease import LEASE
from pipeline.storage.local import PARTIAL, LocalStorage
from pipeline.storage.open_storage import open_storage

LOOK_SECONDS = (0.1, 0.5)  # between listings: of a folder, and of a bucket, which are work for it
FORGET_SECONDS = 10.0  # a machine's numbers of processes may be through in minutes
PATIENCE = 10.0  # seconds for a kind of victim to appear, else it is put off
STALL = 600.0  # seconds without a commit or a kill after which a run is given up
START_SECONDS = 30.0  # within which a command may be ended while it starts
AT_WRITE = 0.3  # of moments: as soon as a file is being written
HALF_SECONDS = 1.0  # for such a file to appear
PLANNING = ("start", "listing", "planning")
AT_PLANNING = 0.03  # of looks at a command that plans
AT_SHUTDOWN = 0.004  # of looks between the last commit and the report, of which there are hundreds
PAIRS = 0.25  # of moments at which two are killed
# Of commands: done, Ray died (its raylet or control store), done in part, killed.
ENDINGS = (0, 1, 3, -signal.SIGKILL)
REFUSED = 2  # as is a command while another holds the lease
SESSION_FOLDER = re.compile(r"autochrome-[0-9a-f]{6}")  # the next command there removes it


class Stalled(Exception):
    """No commit for a long time, or an end that no kill explains; the text says which."""


@dataclass
class _Moment:
    """When to kill next: after so many commits in all, and so many seconds since `since`; if
    half_written, as soon as a file is being written then."""

    commits: int
    seconds: float
    since: float
    half_written: bool = False


class KilledRun:
    """One destination, and the commands that work on it at the same time."""

    def __init__(
        self,
        archive: Archive,
        destination: str,
        random: Random,
        tally: Tally,
        place: Path,
        actors: str = "1:2",
        between: float = 0.1,
        single_writer: bool = False,
        at_start: float = 0.0,
        edges: tuple[int, int] = (0, 0),
    ) -> None:
        """destination: a folder, or s3://bucket/prefix. place: as of a command. actors,
        single_writer: as the options. between: mean seconds from a commit to a kill. at_start:
        how many of those that end a command come while it starts. edges: how often, at most, a
        command is killed before all work, and after it; each takes a victim."""
        self._archive, self._destination = archive, open_storage(destination)
        self._random, self._tally, self._place = random, tally, place
        self._arguments = [
            *(str(archive.source), destination, "--weights", str(archive.weights), "--sidecar"),
            *("--shard-size", str(archive.shard_size), "--actors", actors),
            *(["--single-writer"] if single_writer else []),
        ]
        self._share_at_start, self._edges = at_start, edges
        self._between, self._single_writer = between, single_writer
        self._local = isinstance(self._destination, LocalStorage)
        self._commits, self._news, self._looked = 0, time.monotonic(), 0.0
        self._shards: int | None = None  # of the run, once it is planned
        self._at_start, self._succeeded = 0, False
        self._sessions: list[int] = []
        self._forgot = time.monotonic()

    def finish(self, victims: list[str], commands: int, until: float = float("inf")) -> None:
        """Run so many commands at once, again and again, until all is committed and reported.

        victims: kinds of processes to be killed, in this order where possible; taken from the list
        as it is done. until: by time.monotonic, after which no more are. Raises Stalled.
        """
        for name in OWN_FOLDERS:
            (self._place / name).mkdir(exist_ok=True, mode=0o700)
        try:
            self._finish(victims, [None] * commands, until)
        except BaseException:
            self._end_processes(patience=0)
            raise
        self._end_processes(patience=60)
        self._tally.left_files += [
            name for name in left_files(self._place) if not SESSION_FOLDER.fullmatch(name)
        ]

    def _finish(self, victims: list[str], slots: list[Command | None], until: float) -> None:
        moment = self._next_moment(victims)
        plans, reports = self._edges
        while True:
            self._look(slots)
            for number, command in enumerate(slots):
                if command and command.exit_code() is not None:
                    self._note_end(command)
                    slots[number] = command = None
                if not command and self._wanted(any(slots)):
                    slots[number] = self._start()
                    moment = self._next_moment(victims)  # counted from what it starts with
            living = [command for command in slots if command]
            if not living and self._succeeded:
                return
            if time.monotonic() > until:
                victims.clear()
            if victims and living and self.complete():
                reports -= reports > 0 and self._strike_at_the_end(victims, living[0])
            elif victims and living and plans > 0 and living[0].phase() in PLANNING:
                plans -= self._strike_plan(victims, living[0])
            elif victims and living and self._due(moment):
                if self._strike(victims, [each for each in living if not each.doomed], moment):
                    moment = self._next_moment(victims)
                elif time.monotonic() > moment.since + moment.seconds + PATIENCE:
                    victims.append(victims.pop(0))
                    moment = self._next_moment(victims)
                else:
                    time.sleep(0.2)  # a look at all processes is work
            at_write = moment.half_written and self._commits >= moment.commits
            time.sleep(0.002 if at_write or plans else 0.02)

    def complete(self) -> bool:
        """Whether each shard is committed."""
        if self._shards is None and self._commits:
            run = load_run(self._destination)
            self._shards = run.plan.shards if run else None
        return self._commits == self._shards

    def _wanted(self, living: bool) -> bool:
        """Whether to start one more command; once all is committed, it writes the report."""
        if self.complete() or self._single_writer:
            return not (living or self._succeeded or self._lease_is_held())
        return True

    def _lease_is_held(self) -> bool:
        with suppress(ObjectMissing, ValueError):
            return float(json.loads(self._destination.read(LEASE))["until"]) > time.time()
        return False

    def _start(self) -> Command:
        self._tally.commands += 1
        self._at_start = self._commits
        log = self._place / "logs" / f"{self._tally.commands}.log"
        command = Command(self._arguments, log, self._place)
        self._forget_ended()
        self._sessions.append(command.number)
        return command

    def _forget_ended(self) -> None:
        """Sessions without processes, whose numbers may become those of others."""
        self._sessions = [each for each in self._sessions if any(members(each))]
        self._forgot = time.monotonic()

    def _note_end(self, command: Command) -> None:
        code = command.exit_code()
        assert code is not None
        self._tally.endings[code] += 1
        self._tally.strange += command.strange_lines()
        if code not in ENDINGS and not (code == REFUSED and self._single_writer):
            raise Stalled(f"exit code {code}:\n{command.log.read_text()}")
        if code == 0:
            self._commits = max(self._commits, len(committed_shards(self._destination)))
            self._succeeded = True
            if not self.complete():
                raise Stalled(f"done, it said, after {self._commits} shards of {self._shards}")

    def _next_moment(self, victims: list[str]) -> _Moment:
        now, commits = time.monotonic(), self._commits
        ends = bool(victims) and victims[0] in ENDING
        if ends and self._random.random() < self._share_at_start:
            return _Moment(commits, self._random.uniform(0, START_SECONDS), now)
        commits += self._random.choice([0, 0, 0, 1])
        if ends:  # else most would die while they start, as then there is nothing else to kill
            commits = max(commits, self._at_start + 1)
        half = self._local and self._random.random() < AT_WRITE
        return _Moment(commits, self._random.uniform(0, 2 * self._between), now, half)

    def _due(self, moment: _Moment) -> bool:
        now = time.monotonic()
        if self._commits < moment.commits:
            moment.since = now
        if now < moment.since + moment.seconds:
            return False
        return not moment.half_written or self._half_written() or now > moment.since + HALF_SECONDS

    def _half_written(self) -> bool:
        """Whether a file is being written into the folder."""
        for folder in ("results", "images", "plan", "report", "report/previews", ""):
            with suppress(OSError), os.scandir(Path(self._destination.uri, folder)) as entries:
                if any(PARTIAL.fullmatch(entry.name) for entry in entries):
                    return True
        return False

    def _strike(self, victims: list[str], living: list[Command], moment: _Moment) -> bool:
        """Kill the next victim, or two at once; False where there is none."""
        half, struck = moment.half_written and self._half_written(), list[Kill]()
        pair = self._random.random() < PAIRS
        for _ in range(2 if pair else 1):
            if not living:
                break
            command = self._random.choice(living)
            phase, kind = command.phase(), self._choose(victims, command)
            if struck and kind in ENDING and struck[0].kind not in ENDING:
                break
            busy = kill_one(command.number, kind, self._random) if kind else None
            if kind and busy is not None:
                struck.append(Kill(kind, phase, self._store(), busy, half))
                victims.remove(kind)
                command.doomed = kind in ENDING and kind != "control store"  # works on for a minute
                living = [each for each in living if not each.doomed]
        self._note_kills(struck)
        return bool(struck)

    def _choose(self, victims: list[str], command: Command) -> str | None:
        """The first that is there, but none of those that come after one whose death ends the
        command, and that one only if it is the first."""
        if not victims or victims[0] in ENDING:
            return victims[0] if victims else None
        there = kinds_in(command.number)
        for kind in victims:
            if kind in ENDING:
                return None
            if kind in there:
                return kind
        return None

    def _strike_plan(self, victims: list[str], command: Command) -> bool:
        """Kill a command that plans its run: at a write, or at any moment."""
        written = self._local and self._half_written()
        at_once = command.phase() != "start" and self._random.random() < AT_PLANNING
        return (written or at_once) and self._kill_driver(victims, command, written)

    def _strike_at_the_end(self, victims: list[str], command: Command) -> bool:
        """Kill a command that ends its workers or writes its report, now and then."""
        shutting_down = self._random.random() < AT_SHUTDOWN
        if not (shutting_down or command.phase() == "writing the report"):
            return False
        time.sleep(self._random.uniform(0, 0.3))
        return self._kill_driver(victims, command, self._local and self._half_written())

    def _kill_driver(self, victims: list[str], command: Command, half: bool) -> bool:
        phase = command.phase()
        if not kill_one(command.number, "driver", self._random):
            return False
        victims.remove("driver" if "driver" in victims else victims[-1])
        self._note_kills([Kill("driver", phase, self._store(), half=half)])
        return True

    def _store(self) -> str:
        return "folder" if self._local else "bucket"

    def _note_kills(self, struck: list[Kill]) -> None:
        if not struck:
            return
        self._tally.kills += [
            Kill(each.kind, each.phase, each.place, each.at_work, each.half, len(struck) > 1)
            for each in struck
        ]
        with open(self._place / "logs" / "kills.log", "a") as log:
            now = time.monotonic()
            log.writelines(f"{now:.1f} {self._commits} commits: {each}\n" for each in struck)
        self._told()

    def _look(self, slots: list[Command | None]) -> None:
        if time.monotonic() < self._looked + LOOK_SECONDS[not self._local]:
            return
        self._looked, commits = time.monotonic(), 0
        if self._looked > self._forgot + FORGET_SECONDS:
            self._forget_ended()
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


def left_files(place: Path) -> list[str]:
    """What commands have left in their folder for what is temporary."""
    return sorted(each.name for each in place.iterdir() if each.name not in OWN_FOLDERS)
