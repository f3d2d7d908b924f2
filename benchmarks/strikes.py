"""When a command, or a process below it, is killed, and which one."""

import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from colorize_command import Command
from compared_runs import Kill, Tally
from killing import ENDING, kill_one, kinds_in
from watched_destination import WatchedDestination

PATIENCE = 10.0  # seconds for a kind of victim to appear, else it is put off
START_SECONDS = 30.0  # within which a command may be ended while it starts
AT_WRITE = 0.3  # of moments: as soon as a file is being written
HALF_SECONDS = 1.0  # for such a file to appear
PLANNING = ("start", "listing", "planning")
AT_PLANNING = 0.03  # of looks at a command that plans
AT_SHUTDOWN = 0.004  # of looks between the last commit and the report, of which there are hundreds
PAIRS = 0.25  # of moments at which two are killed


@dataclass(frozen=True)
class Habits:
    """between: mean seconds from a commit to a kill. at_start: how many of those that end a command
    come while it starts. plans, reports: how often, at most, a command is killed before all work,
    and after it; each takes a victim."""

    between: float = 0.1
    at_start: float = 0.0
    plans: int = 0
    reports: int = 0


@dataclass
class _Moment:
    """When to kill next: after so many commits in all, and so many seconds since `since`; if
    half_written, as soon as a file is being written then."""

    commits: int
    seconds: float
    since: float
    half_written: bool = False


class Strikes:
    """The kills of one run. victims: kinds of processes to be killed, in this order where possible;
    taken from the list as it is done. log: a file for the kills."""

    def __init__(
        self,
        victims: list[str],
        habits: Habits,
        destination: WatchedDestination,
        random: Random,
        tally: Tally,
        log: Path,
    ) -> None:
        self._victims, self._habits = victims, habits
        self._plans, self._reports = habits.plans, habits.reports
        self._destination, self._random = destination, random
        self._tally, self._log = tally, log
        self._commits_at_start = 0
        self._moment = self._next_moment()

    def count_anew(self, commits: int) -> None:
        """A command has started, when there were so many commits."""
        self._commits_at_start = commits
        self._moment = self._next_moment()

    def spare_all(self) -> None:
        self._victims.clear()

    @property
    def waits_for_a_write(self) -> bool:
        """Whether to look again as soon as possible."""
        moment = self._moment
        at_write = moment.half_written and self._destination.commits >= moment.commits
        return at_write or bool(self._plans)

    def strike(self, living: list[Command]) -> None:
        """Kill the next victim, if its time has come."""
        victims = self._victims
        if not victims or not living:
            return
        if self._destination.complete():
            self._reports -= self._reports > 0 and self._strike_at_the_end(living[0])
        elif self._plans > 0 and living[0].phase() in PLANNING:
            self._plans -= self._strike_plan(living[0])
        elif self._due():
            if self._strike_some([each for each in living if not each.doomed]):
                self._moment = self._next_moment()
            elif time.monotonic() > self._moment.since + self._moment.seconds + PATIENCE:
                victims.append(victims.pop(0))
                self._moment = self._next_moment()
            else:
                time.sleep(0.2)  # a look at all processes is work

    def _next_moment(self) -> _Moment:
        now, commits = time.monotonic(), self._destination.commits
        ends = bool(self._victims) and self._victims[0] in ENDING
        if ends and self._random.random() < self._habits.at_start:
            return _Moment(commits, self._random.uniform(0, START_SECONDS), now)
        commits += self._random.choice([0, 0, 0, 1])
        if ends:  # else most would die while they start, as then there is nothing else to kill
            commits = max(commits, self._commits_at_start + 1)
        half = self._destination.local and self._random.random() < AT_WRITE
        seconds = self._random.uniform(0, 2 * self._habits.between)
        return _Moment(commits, seconds, now, half)

    def _due(self) -> bool:
        now, moment = time.monotonic(), self._moment
        if self._destination.commits < moment.commits:
            moment.since = now
        if now < moment.since + moment.seconds:
            return False
        waited = now > moment.since + HALF_SECONDS
        return not moment.half_written or self._destination.half_written() or waited

    def _strike_some(self, living: list[Command]) -> bool:
        """Kill the next victim, or two at once; False where there is none."""
        half = self._moment.half_written and self._destination.half_written()
        struck = list[Kill]()
        pair = self._random.random() < PAIRS
        for _ in range(2 if pair else 1):
            if not living:
                break
            command = self._random.choice(living)
            phase, kind = command.phase(), self._choose(command)
            if struck and kind in ENDING and struck[0].kind not in ENDING:
                break
            busy = kill_one(command.number, kind, self._random) if kind else None
            if kind and busy is not None:
                struck.append(Kill(kind, phase, self._destination.kind, busy, half))
                self._victims.remove(kind)
                command.doomed = kind in ENDING and kind != "control store"  # works on for a minute
                living = [each for each in living if not each.doomed]
        self._note_kills(struck)
        return bool(struck)

    def _choose(self, command: Command) -> str | None:
        """The first that is there, but none of those that come after one whose death ends the
        command, and that one only if it is the first."""
        if not self._victims or self._victims[0] in ENDING:
            return self._victims[0] if self._victims else None
        there = kinds_in(command.number)
        for kind in self._victims:
            if kind in ENDING:
                return None
            if kind in there:
                return kind
        return None

    def _strike_plan(self, command: Command) -> bool:
        """Kill a command that plans its run: at a write, or at any moment."""
        written = self._destination.local and self._destination.half_written()
        at_once = command.phase() != "start" and self._random.random() < AT_PLANNING
        return (written or at_once) and self._kill_driver(command, written)

    def _strike_at_the_end(self, command: Command) -> bool:
        """Kill a command that ends its workers or writes its report, now and then."""
        shutting_down = self._random.random() < AT_SHUTDOWN
        if not (shutting_down or command.phase() == "writing the report"):
            return False
        time.sleep(self._random.uniform(0, 0.3))
        local = self._destination.local
        return self._kill_driver(command, local and self._destination.half_written())

    def _kill_driver(self, command: Command, half: bool) -> bool:
        phase, victims = command.phase(), self._victims
        if not kill_one(command.number, "driver", self._random):
            return False
        victims.remove("driver" if "driver" in victims else victims[-1])
        self._note_kills([Kill("driver", phase, self._destination.kind, half=half)])
        return True

    def _note_kills(self, struck: list[Kill]) -> None:
        if not struck:
            return
        self._tally.kills += [
            Kill(each.kind, each.phase, each.place, each.at_work, each.half, len(struck) > 1)
            for each in struck
        ]
        with open(self._log, "a") as log:
            now, commits = time.monotonic(), self._destination.commits
            log.writelines(f"{now:.1f} {commits} commits: {each}\n" for each in struck)
        self._destination.note_news()
