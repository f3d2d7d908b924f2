"""Names of delivered files: those of the archive's masters, as any receiver can hold them.

A result is called after its master already, and no two results alike (see ledger.names). Here the
candidate's number goes where one picture of a photo is delivered, and so do characters that no list
of files holds on a line, and names that no disk of Windows does.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from itertools import count
from typing import Any

from pipeline.ledger.names import folded
from pipeline.ledger.results import image_path
from pipeline.ledger.seen import Seen

_LONGEST_PART = 255 - len(".json")  # bytes, beside the file that belongs to it
_NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}  # controls, halves of characters, ends of lines
_NOT_IN_WINDOWS = set('<>:"\\|?*')
# Whatever its suffix; the raised digits of Latin-1 count as digits there.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])\s*(\.|$)", re.I)
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder a line


class DeliveredNames:
    """Names for pictures, one after another, none of which comes twice.

    numbered: a photo's name tells its candidate. in_bag: per cent signs go, too: BagIt writes them
    as %25 in its manifests, which its own library does not read back. for_windows: so does what its
    disks do not hold.
    """

    def __init__(self, numbered: bool, in_bag: bool, for_windows: bool = True) -> None:
        self._numbered, self._in_bag, self._for_windows = numbered, in_bag, for_windows
        self._taken = Seen()

    def of(self, row: Mapping[str, Any]) -> str:
        """The name of a row's picture: a path below the folder of pictures."""
        plain = image_path(row).removeprefix("images/")
        if not self._numbered and row["name"] is not None:
            stem, dot, suffix = plain.rpartition(".")
            plain = _without_ending(stem, row) + dot + suffix
        *folders, last = plain.split("/")
        folder, so_far = "", ""
        for part in folders:
            so_far += f"{part}/"
            safe = self._safe(part)
            folder += f"{safe if safe == part else _marked(safe, '', so_far)}/"
        safe = self._safe(last)
        if safe == last and self._taken.add(folded(folder + last)):
            return folder + last
        stem, dot, suffix = safe.rpartition(".")
        for attempt in count():
            name = folder + _marked(stem, dot + suffix, f"{plain}\0{attempt}")
            if self._taken.add(folded(name)):
                return name
        raise AssertionError("unreachable")

    def _safe(self, part: str) -> str:
        safe = "".join("_" if self._is_unsafe(sign) else sign for sign in part)
        if not self._for_windows:
            return safe
        if safe[-1:] in (".", " "):
            safe = f"{safe[:-1]}_"  # Windows drops it
        return f"_{safe}" if _DEVICE.match(safe) else safe

    def _is_unsafe(self, sign: str) -> bool:
        return (
            unicodedata.category(sign) in _NO_TEXT
            or sign in _TURNING
            or (self._for_windows and sign in _NOT_IN_WINDOWS)
            or "\uf780" <= sign <= "\uf7ff"  # bytes that are no text, see storage.file_names
            or (self._in_bag and sign == "%")
        )


def _without_ending(stem: str, row: Mapping[str, Any]) -> str:
    """A name without what told it from the other candidates, as `ledger.names.ending_of` wrote
    it."""
    by_number = stem.removesuffix(f".candidate-{row['candidate']}")
    if by_number != stem or not row["rank"] or not row["rank_by"]:
        return by_number
    return re.sub(rf"\.rank-0*{row['rank']}-by-{row['rank_by']}$", "", stem)


def _marked(stem: str, suffix: str, of: str) -> str:
    """A name that only one path has: with eight digits of its hash, and no longer than it may be.

    Without a suffix it is none that a picture could have."""
    end = f"~{hashlib.sha256(of.encode()).hexdigest()[:8]}{suffix}"
    room = _LONGEST_PART - len(end.encode())
    return stem.encode()[:room].decode(errors="ignore") + end
