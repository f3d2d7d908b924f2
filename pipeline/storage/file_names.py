"""Names of files as text that any format can hold, and back as the system has them.

Bytes of a name that are not UTF-8 become U+F780 to U+F7FF in text, and the same bytes again on
disk; so do, byte for byte, names that hold those characters themselves.
"""

import os
import re

_ESCAPED = re.compile("[\uf780-\uf7ff]")
UNFIT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # halves of characters, as from JSON


def to_text(name: str) -> str:
    """A file's name as text that any format can hold, which is what paths here are made of."""
    escaped = _ESCAPED.sub(
        lambda found: "".join(chr(0xF700 + byte) for byte in found[0].encode()), name
    )
    return re.sub("[\udc80-\udcff]", lambda found: chr(ord(found[0]) - 0xDC00 + 0xF700), escaped)


def to_name(text: str) -> str:
    """The inverse of to_text: surrogates stand for bytes in Python's file names."""
    return _ESCAPED.sub(lambda found: chr(ord(found[0]) - 0xF700 + 0xDC00), text)


def name_of_root(folder: str) -> str:
    """The name on disk of a folder that a user names, or that a run has recorded as a `uri`."""
    recorded = to_name(folder)
    if recorded == folder or os.path.lexists(folder) or not os.path.lexists(recorded):
        return folder
    return recorded
