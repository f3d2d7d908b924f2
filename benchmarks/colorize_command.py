"""`autochrome colorize` as a process that can be killed, and what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from compared_runs import REPOSITORY
from pipeline.run.listener import Phase

PHASES = get_args(Phase)
# The line of the watchdog among them: on a busy machine minutes may pass without a commit.
OUR_LINE = re.compile(
    r"[\d,]+ of [\d,]+ photos(, .*)?|no shard was done for \d+ s .*|autochrome: .*|"
    + r"|".join(PHASES)
)
OWN_FOLDERS = ("logs", "state")  # folders of these measurements among those of commands


class Command:
    """`autochrome colorize`, in a session of its own; `number` is that of its leader.

    place: a folder with a short path, as Ray's sockets are below it, for all that is temporary.
    """

    def __init__(self, arguments: Sequence[str], log: Path, place: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), *sys.path])),
            "RAY_TMPDIR": str(place),
            "TMPDIR": str(place),
            "XDG_STATE_HOME": str(place / "state"),
            "RAY_worker_niceness": "0",  # else whatever else runs here starves the workers
        }
        self.log, self.doomed = log, False  # once that was killed without which it cannot go on
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

    def phase(self) -> str:
        """The last phase on the screen."""
        phases = [line for line in self.log.read_text().splitlines() if line in PHASES]
        return phases[-1] if phases else "start"

    def strange_lines(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if not OUR_LINE.fullmatch(line)]
