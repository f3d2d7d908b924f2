"""Run the commands of docs/tutorial.md, and write their output into it.

    python benchmarks/tutorial.py

Each shell block is run in an empty folder. Its output replaces the text block that follows, or the
comment `<!-- output -->`. Another comment says which command is killed, and when. The folder's name
is replaced by a neutral one.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$|^<!-- output -->$", re.DOTALL | re.MULTILINE)
KILLED = re.compile(r"<!-- The command above is killed after (\d+) shards\. -->")
SHOWN_FOLDER = "/home/you/autochrome"
SECONDS = 1800.0  # that a command may take on a busy machine


def run(command: str, folder: Path, kill_after: int | None) -> str:
    """What a command prints on both streams; kill_after: shards, after which it is killed.

    Raises RuntimeError: it failed, or was done before it could be killed.
    """
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "COLUMNS": "100"}
    with open(folder / ".said", "w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            ["bash", "-e", "-c", command],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        last = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < last:
            if kill_after and len(list(folder.glob("*/results/shard-*"))) >= kill_after:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.05)
        else:
            if process.returncode or kill_after:
                said.seek(0)
                raise RuntimeError(f"{command.strip()}: {process.returncode}\n{said.read()}")
        said.seek(0)
        return said.read()


def shown(output: str, folder: Path) -> str:
    """An output as the document has it. Of the progress line, what came last before each return."""
    lines = [line.split("\r")[-1].rstrip() for line in output.splitlines()]
    return "\n".join(lines).strip("\n").replace(str(folder), SHOWN_FOLDER)


def with_outputs(text: str, folder: Path) -> str:
    """The document with what its commands print now."""
    parts, done, output = [], 0, ""
    for block in BLOCK.finditer(text):
        parts.append(text[done : block.start()])
        done = block.end()
        if block[1] == "sh":
            following = text[done:].partition("```sh")[0]
            killed = KILLED.search(following)
            if ".venv/bin/activate" not in block[2]:
                print(block[2], end="", flush=True)
                output = run(block[2], folder, int(killed[1]) if killed else None)
                print(output, flush=True)
            parts.append(block[0])
        else:
            said = shown(output, folder)
            parts.append(f"```text\n{said}\n```" if said else "<!-- output -->")
    return "".join(parts) + text[done:]


def main() -> None:
    with TemporaryDirectory(prefix="tutorial-") as name:
        folder = Path(name)
        (folder / "examples").symlink_to(REPOSITORY / "examples")
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(with_outputs(text, folder), encoding="utf-8")


if __name__ == "__main__":
    main()
