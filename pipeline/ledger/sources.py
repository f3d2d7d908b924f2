"""What a user may give as a source: a folder, s3://bucket/prefix, or a pattern below one."""

import os
import re
from pathlib import PurePosixPath

from pipeline.errors import UsageError

_PATTERN = re.compile(r"[*?]")
_ARCHIVES = {".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}


def split_source(source: str, include: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The place and the patterns of what to take there, as in `--include`.

    Raises UsageError: an archive, a single file, or a pattern beside `--include`.
    """
    remote = source.startswith("s3://")
    suffix = PurePosixPath(source).suffix.lower()
    if suffix in _ARCHIVES and (remote or os.path.isfile(source)):
        raise UsageError(f"{source} is an archive: unpack it, and give the folder")
    if not remote and os.path.isfile(source):
        folder, name = os.path.split(source)
        raise UsageError(
            f"{source} is a file, not a folder: autochrome preview colorizes it alone; a run takes"
            f" {folder or '.'} with --include {name!r}"
        )
    if not _PATTERN.search(source) or (not remote and os.path.exists(source)):
        return source, include
    if include:
        raise UsageError(f"{source} is a pattern, and so is --include {include[0]!r}: give one")
    parts = source.split("/")
    first = next(place for place, part in enumerate(parts) if _PATTERN.search(part))
    if remote and first < 3:
        raise UsageError(f"{source}: a bucket's name is no pattern")
    base = "/".join(parts[:first]) or ("/" if source.startswith("/") else ".")
    return base, ("/".join(parts[first:]),)
