"""Which of the files that were listed a run takes for photographs."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from pathlib import PurePosixPath

from pipeline.errors import shown
from pipeline.images.formats import MASTER_SUFFIXES
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.sources import Listing, listing_of, named_files
from pipeline.storage.base import Storage, StoredObject

# Folders and files that operating systems leave beside photographs.
_OF_SYSTEMS = {
    *("@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information"),
    *("__MACOSX", "lost+found", "Thumbs.db", "desktop.ini", "Icon\r"),
}
# Lists and notes without a suffix.
_LISTS = re.compile(r"(?:SHA\d+|MD5)(?:SUMS?)?|CHECKSUMS?|README|LICEN[CS]E|MANIFEST|INDEX", re.I)


def chosen_photos(
    source: Storage, recipe: Recipe, listing: Listing | None, ignored: Counter[str]
) -> Iterator[StoredObject]:
    """The photographs that a run takes, in the order of their listing; other files are counted.

    listing: None lists the source, or its files where the recipe names some.
    """
    listing = listing or listing_of(source, recipe.include)
    listed = listing(ignored) if listing else source.list(skip=partial(_not_entered, recipe))
    return islice(_photos(listed, recipe, ignored), recipe.limit)


def describe_nothing(source: Storage, ignored: Counter[str]) -> str:
    """For people, that a source has no photograph."""
    others = f"; {describe_ignored(ignored)}" if ignored else ""
    return f"no photograph in {source.uri}{others}"


def _photos(
    listed: Iterable[StoredObject], recipe: Recipe, ignored: Counter[str]
) -> Iterator[StoredObject]:
    """The listed files that are photographs of the run; other files are counted."""
    included, excluded = _matcher(recipe.include), _matcher(recipe.exclude)
    for found in listed:
        path, parts = found.path, found.path.split("/")
        suffix = suffix_of(path).lower().rstrip()
        if found.skipped:
            ignored[found.skipped] += 1
        elif _is_hidden(path):
            ignored["hidden"] += 1
        elif not _OF_SYSTEMS.isdisjoint(parts) or (not suffix and _LISTS.fullmatch(parts[-1])):
            ignored["of the system"] += 1
        elif suffix and suffix not in MASTER_SUFFIXES:
            ignored[suffix] += 1
        elif not suffix and path.endswith("/"):  # a key that stands for a folder, with bytes
            ignored["folder"] += 1
        elif (recipe.include and not included(path)) or (recipe.exclude and excluded(path)):
            ignored["filtered"] += 1
        else:
            yield found


def suffix_of(path: str) -> str:
    """`PurePosixPath(path).suffix`, but in a fifth of the time, which counts for millions."""
    name = path.rpartition("/")[2]
    if name in ("", "."):  # the name is a part before it
        return PurePosixPath(path).suffix
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def _is_hidden(path: str) -> bool:
    if "/." not in path and not path.startswith("."):  # as nearly all are
        return False
    return any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))


def _not_entered(recipe: Recipe, folder: str) -> str:
    """A Skip: why no file below a folder can be a photograph of the run."""
    if _is_hidden(folder):
        return "hidden folder"
    if not _OF_SYSTEMS.isdisjoint(folder.split("/")):
        return "folder of the system"
    # Such a pattern, if it matches the folder's own path, matches every path that begins with it.
    below = (pattern for pattern in recipe.exclude if pattern.endswith("*"))
    return "excluded folder" if any(fnmatchcase(folder, pattern) for pattern in below) else ""


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A function that tells whether a path is one of these, or matches one."""
    files = named_files(patterns)
    if files is not None:  # which may be thousands
        return set(files).__contains__
    return lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)


def describe_ignored(ignored: dict[str, int]) -> str:
    """A phrase for people: `3 other files ignored (2 .txt, 1 hidden)`."""
    count = sum(ignored.values())
    kinds = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{number:,} {shown(kind)}" for kind, number in kinds[:5])
    more = ", ..." if len(kinds) > 5 else ""
    return f"{count:,} other file{'' if count == 1 else 's'} ignored ({named}{more})"
