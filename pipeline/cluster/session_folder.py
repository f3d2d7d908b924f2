"""The private folder of a Ray of our own, which ends with it.

In it are Ray's sockets, logs and token, and what workers leave in their folder for temporary files.
Its lock is held by the process that made it, and goes with that, whatever kills it: so the next
process knows which folders are left over, and removes them.
"""

import fcntl
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import EngineError

_NAME = re.compile(r"autochrome-[0-9a-f]{6}")
_SOCKET = len(
    "/autochrome-012345/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
)
_LONGEST_SOCKET = 107 if sys.platform == "linux" else 103  # bytes that the system grants
_PATIENCE = 20.0  # seconds for Ray's processes to end, which write there until they do


@contextmanager
def session_folder() -> Iterator[Path]:
    """A new folder for nobody else, removed after the block. Raises EngineError.

    Ray itself gets `r` in it, as it opens its folder for temporary files to everybody.
    """
    parent = _parent()
    _remove_leftovers(parent)
    try:
        folder, lock = _new_folder(parent)
        (folder / "tmp").mkdir(mode=0o700)
        with open(folder / "token", "x", opener=_for_owner) as file:
            file.write(secrets.token_hex(32))
    except OSError as error:
        raise EngineError(f"Ray did not start: no folder in {parent}: {error.strerror}") from error
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def settings_for(folder: Path) -> dict[str, str]:
    """The environment for a Ray of such a folder and its workers; a token of the user's stays."""
    wanted = {"TMPDIR": str(folder / "tmp")}
    if not os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        wanted["RAY_AUTH_TOKEN_PATH"] = str(folder / "token")
    return wanted


def _parent() -> Path:
    wanted = os.environ.get("RAY_TMPDIR")
    places = [wanted] if wanted else [tempfile.gettempdir(), "/tmp"]
    for place in map(os.path.realpath, places):
        if len(os.fsencode(place)) + _SOCKET <= _LONGEST_SOCKET:
            return Path(place)
    raise EngineError(
        f"Ray did not start: the path {places[0]} is too long for its sockets; RAY_TMPDIR names a"
        f" folder of at most {_LONGEST_SOCKET - _SOCKET} bytes"
    )


def _new_folder(parent: Path) -> tuple[Path, int]:
    """A folder of mode 0700, and the descriptor that holds its lock. Raises OSError."""
    for _ in range(20):
        folder = parent / f"autochrome-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        with suppress(FileNotFoundError):  # another process took it for left over, a moment ago
            lock = _open(folder)
            if _lock(lock) and folder.exists():
                return folder, lock
            os.close(lock)
    raise OSError(None, "other processes remove it as soon as it is made")


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _open(folder: str | Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _lock(descriptor: int) -> bool:
    """Whether no other process has it. Raises OSError: the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_leftovers(parent: Path) -> None:
    """Folders of this user whose process was killed."""
    with suppress(OSError):
        for place in list(os.scandir(parent)):
            if _NAME.fullmatch(place.name):
                with suppress(OSError):  # of another user, or gone meanwhile
                    lock = _open(place.path)
                    if os.fstat(lock).st_uid == os.getuid() and _lock(lock):
                        shutil.rmtree(place.path, ignore_errors=True)
                    os.close(lock)


def _remove(folder: Path) -> None:
    """Some of Ray's processes end later than it says, and make files anew until then."""
    end = time.monotonic() + _PATIENCE
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)
