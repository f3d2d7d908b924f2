"""The user's folders for files that outlive a command on this machine: copies of weights, and logs.

They follow the XDG convention, and only the user may write to them.
"""

import os
import stat
from pathlib import Path

from pipeline.errors import UsageError


def cache_folder(name: str) -> Path | None:
    """The folder of this name for files that can be fetched again; None where none can be made."""
    try:
        return _private("XDG_CACHE_HOME", ".cache", name)
    except UsageError:
        return None


def state_folder(name: str) -> Path:
    """The folder of this name for files that people may want to read later. Raises UsageError."""
    return _private("XDG_STATE_HOME", ".local/state", name)


def _private(variable: str, usual: str, name: str) -> Path:
    """Make a folder that belongs to this user and that no other user can write to."""
    base = os.environ.get(variable, "")
    try:
        folder = Path(base if os.path.isabs(base) else Path.home() / usual, "autochrome", name)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in (folder, folder.parent):
            _check(place)
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"no folder of this user's own for {name}: {why}; {variable} names another place"
        ) from error
    return folder


def _check(folder: Path) -> None:
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode):
        raise OSError(None, f"{folder} is a link")
    if about.st_uid != os.geteuid():
        raise OSError(None, f"{folder} belongs to another user")
    if about.st_mode & 0o022:
        raise OSError(None, f"{folder} can be written to by other users")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(None, f"{folder} cannot be written to")
