"""What a user may give as a source: a folder, s3://bucket/prefix, a pattern below one, or files.

Files are taken as patterns without a wildcard, below the folder that they have in common. Of a
source with such patterns alone nothing else is listed, so that a destination may lie beside them.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from glob import escape
from pathlib import PurePosixPath

from pipeline.errors import UsageError
from pipeline.images.formats import MASTER_SUFFIXES
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.file_names import to_text
from pipeline.storage.open_storage import is_remote, open_storage

Listing = Callable[[Counter[str]], Iterator[StoredObject]]  # counts what it leaves out
_PATTERN = re.compile(r"[*?]")
_WILDCARD, _ESCAPED = re.compile(r"[*?\[]"), re.compile(r"\[([*?\[])\]")
_ARCHIVES = {".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
_WORKERS = 16


def split_sources(sources: Sequence[str], include: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """As `split_source`, of one source or of several files. Raises UsageError, StorageError."""
    if len(sources) == 1:
        return split_source(sources[0], include)
    for source in sources:
        _refuse_archive(source)
        if not is_remote(source) and os.path.isdir(source):
            raise UsageError(f"{source} is a folder: a run takes one folder, or several files")
        if _PATTERN.search(source) and not os.path.exists(source):
            raise UsageError(f"{source} is a pattern: a run takes one pattern, or several files")
    return _split_files(sources, include)


def split_source(source: str, include: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The place and the patterns of what to take there, as in `--include`.

    Raises UsageError (an archive, or a pattern or file beside `--include`), StorageError.
    """
    _refuse_archive(source)
    remote = is_remote(source)
    if _is_object(source) if remote else os.path.isfile(source):
        _refuse_other_file(source)
        return _split_files([source], include)
    if not _PATTERN.search(source) or (not remote and os.path.exists(source)):
        return source, include
    if include:
        raise UsageError(f"{source} is a pattern, and so is --include {include[0]!r}: give one")
    parts = source.split("/")
    first = next(place for place, part in enumerate(parts) if _PATTERN.search(part))
    if remote and first < 3:
        raise UsageError(f"{source}: the name of a bucket cannot be a pattern")
    base = "/".join(parts[:first]) or ("/" if source.startswith("/") else ".")
    return base, ("/".join(parts[first:]),)


def named_files(include: Sequence[str]) -> list[str] | None:
    """The paths that patterns name; None where one has a wildcard, or there are none."""
    if not include or any(_WILDCARD.search(_ESCAPED.sub("", pattern)) for pattern in include):
        return None
    return sorted({_ESCAPED.sub(r"\1", pattern) for pattern in include})


def listing_of(source: Storage, include: Sequence[str]) -> Listing | None:
    """What takes the place of the source's own listing; None where nothing does."""
    files = named_files(include)
    return None if files is None else partial(_list_files, source, files)


def _list_files(
    source: Storage, files: Sequence[str], ignored: Counter[str]
) -> Iterator[StoredObject]:
    with ThreadPoolExecutor(_WORKERS) as pool:
        for found in pool.map(source.find, files):
            if found is None:
                ignored["not there"] += 1
            else:
                yield found


def _split_files(sources: Sequence[str], include: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The folder that files have in common, and each of them as a pattern without a wildcard."""
    if include:
        raise UsageError(f"{sources[0]} is a file: it needs no --include {include[0]!r}")
    remote = list(map(is_remote, sources))
    if any(remote) and not all(remote):
        raise UsageError("some sources are files and some are objects: a run takes one kind")
    paths = [(source if remote[0] else os.path.abspath(source)).split("/") for source in sources]
    common = os.path.commonprefix([path[:-1] for path in paths])
    if remote[0] and len(common) < 3:
        raise UsageError("the sources lie in several buckets: a run takes one")
    folder = "/".join(common) or "/"
    files = ["/".join(path[len(common) :]) for path in paths]
    if not remote[0]:
        files = list(map(to_text, files))
    place = open_storage(folder)
    with ThreadPoolExecutor(_WORKERS) as pool:
        for source, found in zip(sources, pool.map(place.find, files), strict=True):
            if found is None:
                raise UsageError(f"{source} does not exist")
    return folder, tuple(sorted({escape(file) for file in files}))


def _is_object(source: str) -> bool:
    """Whether a URI is that of one photograph, not of a prefix."""
    folder, _, name = source.rpartition("/")
    photograph = PurePosixPath(name).suffix.lower() in MASTER_SUFFIXES
    if folder in ("s3:/", "s3:") or folder.endswith("/") or not photograph:
        return False
    return not _PATTERN.search(source) and open_storage(folder).find(name) is not None


def _refuse_other_file(source: str) -> None:
    """A file without a suffix may be a photograph; one of another kind is a slip."""
    suffix = PurePosixPath(source).suffix.lower().rstrip()
    if suffix and suffix not in MASTER_SUFFIXES:
        raise UsageError(f"{source} is not a photograph: {suffix} files are not read")


def _refuse_archive(source: str) -> None:
    suffix = PurePosixPath(source).suffix.lower()
    if suffix in _ARCHIVES and (is_remote(source) or os.path.isfile(source)):
        raise UsageError(f"{source} is an archive: unpack it, and give the folder")
