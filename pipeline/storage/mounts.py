"""Where a folder really lies, under whatever name it is mounted: on Linux, which tells."""

import os
import re
from contextlib import suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(rb"\\([0-7]{3})")


def path_below(folder: str, other: str) -> str | None:
    """The path from another folder to this one, if they are mounted from one device and this lies
    in the other there; else None. Both absolute and without links.

    Whoever asks has to look whether it is the same folder: for NFS, the system says of any folder
    that is mounted that it was the uppermost of the device.
    """
    own, others = (_place_on_device(os.fsencode(each)) for each in (folder, other))
    if own is None or others is None or own[0] != others[0]:
        return None
    inside, above = own[1].rstrip(b"/") + b"/", others[1].rstrip(b"/") + b"/"
    return os.fsdecode(inside[len(above) : -1]) if inside.startswith(above) else None


def _place_on_device(folder: bytes) -> tuple[bytes, bytes] | None:
    """Its device, and its path there; None where the system does not tell."""
    found, longest = None, -1
    with suppress(OSError, ValueError):
        for line in MOUNTS.read_bytes().splitlines():
            device, root, point = (_plain(field) for field in line.split(b" ")[2:5])
            start = point.rstrip(b"/")
            inside = folder == start or folder.startswith(start + b"/")
            if inside and len(start) >= longest:  # a later mount hides an earlier one
                found, longest = (device, root.rstrip(b"/") + folder[len(start) :]), len(start)
    return found


def _plain(field: bytes) -> bytes:
    """A field without the escapes of its white space."""
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field)
