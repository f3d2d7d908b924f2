"""A destination that commands work on, seen from outside: what is committed or half written."""

import os
import time
from contextlib import suppress
from pathlib import Path

from compared_runs import Tally
from pipeline.errors import ObjectMissing
from pipeline.ledger.results import committed_shards
from pipeline.ledger.run_file import load_run
from pipeline.storage.local import PARTIAL, LocalStorage
from pipeline.storage.open_storage import open_storage

LOOK_SECONDS = (0.1, 0.5)  # between listings: of a folder, and of a bucket, which are work for it
STALL = 600.0  # seconds without a commit or a kill after which a run is given up


class Stalled(Exception):
    """No commit for a long time, or an end that no kill explains; the text says which."""


class WatchedDestination:
    """Counts the shards that are committed, and the seconds since anything happened."""

    def __init__(self, uri: str, tally: Tally) -> None:
        self.storage, self._tally = open_storage(uri), tally
        self.local = isinstance(self.storage, LocalStorage)
        self.commits = 0
        self.shards: int | None = None  # of the run, once it is planned
        self._news, self._looked = time.monotonic(), 0.0

    @property
    def kind(self) -> str:
        return "folder" if self.local else "bucket"

    def complete(self) -> bool:
        """Whether each shard is committed."""
        if self.shards is None and self.commits:
            run = load_run(self.storage)
            self.shards = run.plan.shards if run else None
        return self.commits == self.shards

    def half_written(self) -> bool:
        """Whether a file is being written into the folder."""
        for folder in ("results", "images", "plan", "report", "report/previews", ""):
            with suppress(OSError), os.scandir(Path(self.storage.uri, folder)) as entries:
                if any(PARTIAL.fullmatch(entry.name) for entry in entries):
                    return True
        return False

    def look(self) -> None:
        """Count the commits, unless that was done a moment ago. Raises Stalled."""
        if time.monotonic() < self._looked + LOOK_SECONDS[not self.local]:
            return
        self._looked, commits = time.monotonic(), 0
        with suppress(ObjectMissing):  # a folder that is made with the first write
            commits = len(committed_shards(self.storage))
        if commits > self.commits:
            self.commits = commits
            self.note_news()
        if time.monotonic() > self._news + STALL:
            raise Stalled(f"{commits} commits, then nothing:")

    def count_all(self) -> None:
        """At the end of a command, which may have committed more than was seen."""
        self.commits = max(self.commits, len(committed_shards(self.storage)))

    def note_news(self) -> None:
        """A commit or a kill: time counts anew."""
        now = time.monotonic()
        self._tally.longest_wait = max(self._tally.longest_wait, now - self._news)
        self._news = now
