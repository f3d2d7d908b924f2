"""A delivery as a BagIt bag (RFC 8493): digests of everything in data/, and a description."""

import hashlib
from collections.abc import Mapping
from typing import BinaryIO

from pipeline.errors import shown_in_line

MANIFEST, TAG_MANIFEST, INFO, DECLARATION = (
    "manifest-sha256.txt",
    "tagmanifest-sha256.txt",
    "bag-info.txt",
    "bagit.txt",
)
TAGS = {MANIFEST, TAG_MANIFEST, INFO, DECLARATION}
DECLARED = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


class Payload:
    """The manifest of a bag's payload, written into a file line by line."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = file
        self._bytes = self._files = 0

    def add(self, path: str, sha256: str, size: int) -> None:
        """path: relative to the bag, without line breaks and percent signs."""
        self._lines.write(f"{sha256}  {path}\n".encode())
        self._bytes += size
        self._files += 1

    def close(self) -> BinaryIO:
        """The manifest, from its beginning."""
        self._lines.seek(0)
        return self._lines

    @property
    def oxum(self) -> str:
        return f"{self._bytes}.{self._files}"


def bag_info(given: Mapping[str, str], begun: str, software: str, run: str, oxum: str) -> bytes:
    """bag-info.txt: the given lines, then our own for labels that were not given."""
    own = {
        "External-Description": "Colorized photographs. Their colors are a machine's guess.",
        "Internal-Sender-Identifier": f"run.json SHA-256 {run}",
        "Bagging-Date": begun,
        "Bag-Software-Agent": software,
        "Payload-Oxum": oxum,
    }
    lines = {**own, **given}
    names = [*given, *(name for name in own if name not in given)]
    return "".join(f"{name}: {shown_in_line(lines[name])}\n" for name in names).encode()


def tag_manifest(digests: Mapping[str, str]) -> bytes:
    """tagmanifest-sha256.txt: digests of the bag's other tag files."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items())).encode()


def digest_of(file: BinaryIO) -> tuple[str, int]:
    """SHA-256 and size of a file, whose position is the start before and after."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    size = file.tell()
    file.seek(0)
    return digest, size
