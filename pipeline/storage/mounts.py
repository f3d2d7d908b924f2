"""Where a folder really lies, under whatever name it is mounted: on Linux, which tells."""

import re
from contextlib import suppress
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(rb"\\([0-7]{3})")


def place_on_device(folder: bytes) -> tuple[bytes, bytes] | None:
    """Its device, and its path there; None where the system does not tell. folder: absolute and
    without links."""
    found, longest = None, -1
    with suppress(OSError, ValueError):
        for line in _MOUNTS.read_bytes().splitlines():
            device, root, point = (_plain(field) for field in line.split(b" ")[2:5])
            start = point.rstrip(b"/")
            inside = folder == start or folder.startswith(start + b"/")
            if inside and len(start) >= longest:  # a later mount hides an earlier one
                found, longest = (device, root.rstrip(b"/") + folder[len(start) :]), len(start)
    return found


def _plain(field: bytes) -> bytes:
    """A field without the escapes of its white space."""
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field)
