"""Real commands that are killed at random, and started again until all is done."""

import json
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from random import Random

from colorize_command import OWN_FOLDERS, Command
from compared_runs import Archive, Tally
from killing import members
from pipeline.errors import ObjectMissing
from pipeline.storage.lease import LEASE
from strikes import Habits, Strikes
from watched_destination import Stalled, WatchedDestination

FORGET_SECONDS = 10.0  # a machine's numbers of processes may be through in minutes
# Of commands: done, Ray died (its raylet or control store), done in part, killed.
ENDINGS = (0, 1, 3, -signal.SIGKILL)
REFUSED = 2  # as is a command while another holds the lease
DEFAULT_HABITS = Habits()
SESSION_FOLDER = re.compile(r"autochrome-[0-9a-f]{6}")  # the next command there removes it


class KilledRun:
    """One destination, and the commands that work on it at the same time."""

    def __init__(
        self,
        archive: Archive,
        destination: str,
        random: Random,
        tally: Tally,
        place: Path,
        *,
        actors: str = "1:2",
        single_writer: bool = False,
        habits: Habits = DEFAULT_HABITS,
    ) -> None:
        """destination: a folder, or s3://bucket/prefix. place: as of a command. actors,
        single_writer: as the options."""
        self._destination = WatchedDestination(destination, tally)
        self._random, self._tally, self._place = random, tally, place
        self._arguments = [
            *(str(archive.source), destination, "--weights", str(archive.weights), "--sidecar"),
            *("--shard-size", str(archive.shard_size), "--actors", actors),
            *(["--single-writer"] if single_writer else []),
        ]
        self._habits, self._single_writer = habits, single_writer
        self._succeeded = False
        self._sessions: list[int] = []
        self._forgot = time.monotonic()

    def finish(self, victims: list[str], commands: int, until: float = float("inf")) -> None:
        """Run so many commands at once, again and again, until all is committed and reported.

        victims: as of Strikes. until: by time.monotonic, after which no more are killed. Raises
        Stalled.
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
        log = self._place / "logs" / "kills.log"
        strikes = Strikes(victims, self._habits, self._destination, self._random, self._tally, log)
        while True:
            self._look(slots)
            for number, command in enumerate(slots):
                if command and command.exit_code() is not None:
                    self._note_end(command)
                    slots[number] = command = None
                if not command and self._wanted(any(slots)):
                    slots[number] = self._start()
                    strikes.count_anew(self._destination.commits)
            living = [command for command in slots if command]
            if not living and self._succeeded:
                return
            if time.monotonic() > until:
                strikes.spare_all()
            strikes.strike(living)
            time.sleep(0.002 if strikes.waits_for_a_write else 0.02)

    def _wanted(self, living: bool) -> bool:
        """Whether to start one more command; once all is committed, it writes the report."""
        if self._destination.complete() or self._single_writer:
            return not (living or self._succeeded or self._lease_is_held())
        return True

    def _lease_is_held(self) -> bool:
        with suppress(ObjectMissing, ValueError):
            lease = json.loads(self._destination.storage.read(LEASE))
            return float(lease["until"]) > time.time()
        return False

    def _start(self) -> Command:
        self._tally.commands += 1
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
        code, destination = command.exit_code(), self._destination
        assert code is not None
        self._tally.endings[code] += 1
        self._tally.strange += command.strange_lines()
        if code not in ENDINGS and not (code == REFUSED and self._single_writer):
            raise Stalled(f"exit code {code}:\n{command.log.read_text()}")
        if code == 0:
            destination.count_all()
            self._succeeded = True
            if not destination.complete():
                done, of = destination.commits, destination.shards
                raise Stalled(f"done, it said, after {done} shards of {of}")

    def _look(self, slots: list[Command | None]) -> None:
        if time.monotonic() > self._forgot + FORGET_SECONDS:
            self._forget_ended()
        try:
            self._destination.look()
        except Stalled as error:
            lines = [
                f"{process} {title}"
                for session in self._sessions
                for process, title in members(session)
            ]
            logs = [command.log.read_text() for command in slots if command]
            raise Stalled("\n".join([str(error), *lines, *logs])) from error

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
