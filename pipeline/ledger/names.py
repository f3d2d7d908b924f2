"""Names of results: decided when a run is planned, and no two photos share one.

Most photos give their results their own name. Where another photo's results could be called the
same, on a file system that takes "A" for "a" too, a name gets "~" and eight digits of a hash of the
photo's path; so does one that no folder could hold: too long, or of parts like "" and "..", which
keys of objects may have. The rest of a result's name (page, candidate, suffix) is only known when
it is written, so a photo claims all that it could become.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from itertools import count
from pathlib import PurePosixPath

from pipeline.images.formats import FORMAT_OF_SUFFIX
from pipeline.ledger.seen import Seen
from pipeline.storage.base import Storage

_PAGE = re.compile(r"\.page-\d+$")
_CANDIDATE = re.compile(r"\.candidate-\d+$|\.rank-\d+-by-[a-z]+$")
_LONGEST_PART = 255  # bytes of one part of a path, in file systems
_LONGEST_FOLDER = 600  # bytes: S3 takes 1,024 for all of a key, and the destination has a prefix
_ADDED = len(".jpeg.json")  # a suffix, and that of a sidecar
_ADDED_PAGE = len(".page-65536")
_MARK = len("~12345678")


@dataclass
class _Folder:
    """A folder of results. path: with "/" at its end, or empty. key: what its claims begin with."""

    path: str
    taken: Seen
    key: str = ""
    inner: "dict[str, _Folder]" = field(default_factory=dict)


class Names:
    """The names of a run's photos, one after another.

    candidates: pictures per photo. rank_by: as in the recipe. every_page: pages are all taken, not
    the first alone. in_order: photos come in the order of their paths, so that claims are kept for
    open folders only.
    """

    def __init__(
        self, candidates: int, every_page: bool, in_order: bool, rank_by: str | None = None
    ) -> None:
        self._number = ending_of(candidates, rank_by, candidates - 1, candidates)
        self._every_page, self._in_order = every_page, in_order
        self._room = _LONGEST_PART - _ADDED - len(self._number) - _ADDED_PAGE * every_page
        self._root = _Folder("", Seen())
        self._last = ("", self._root)

    def of(self, photo: str) -> str:
        """A name for the results of a photo that comes for the first time."""
        where, slash, last = photo.rpartition("/")
        if where + slash != self._last[0]:
            self._last = (where + slash, self._open(where) if slash else self._root)
        folder = self._last[1]
        stem, own = _split(_part(last))
        fitting = _cut(stem, self._room - len(own)) + own
        if fitting == last and self._take(folder, last):
            return folder.path + last
        stem = _cut(stem, self._room - len(own) - _MARK)
        for attempt in count():
            name = f"{stem}{_mark(photo, attempt)}{own}"
            if self._take(folder, name):
                return folder.path + name
        raise AssertionError("unreachable")

    def keep(self, photo: str, name: str) -> None:
        """Claim the name that a photo has got already, whatever `of` would have called it.

        All that have one come first, in the order in which they got it; only where photos do not
        come in the order of their paths.
        """
        if self.of(photo) == name:
            return
        *folders, last = name.split("/")
        folder = self._root
        for part in folders:
            self._claim(folder, part)
            folder.taken.add(f"folder {folder.key}{folded(part)}")
            path = f"{folder.path}{part}/"
            folder = _Folder(path, folder.taken, folded(path))
        self._claim(folder, last)

    def _open(self, where: str) -> _Folder:
        """The folder of results for a folder of the source."""
        folder, so_far = self._root, ""
        for part in where.split("/"):
            so_far += f"{part}/"
            known = folder.inner.get(part)
            if known is None:
                if self._in_order:
                    folder.inner.clear()  # which are behind us, with what they hold
                known = folder.inner[part] = self._new_folder(folder, part, so_far)
            folder = known
        return folder

    def _new_folder(self, above: _Folder, part: str, source: str) -> _Folder:
        """The folder of results for one more part of a photo's path; `above` itself where paths
        would become too long. source: the photo's own folder, which tells names apart."""
        if len((above.path + part).encode()) > _LONGEST_FOLDER:
            path, claimed = above.path, True  # and names tell who is who
        else:
            name = _cut(_part(part), _LONGEST_PART)
            claimed = name == part and self._take_folder(above, name)
            for attempt in count() if not claimed else ():
                name = _cut(_part(part), _LONGEST_PART - _MARK) + _mark(source, attempt)
                if self._take_folder(above, name):
                    break
            path = f"{above.path}{name}/"
        if path == above.path:
            return _Folder(path, above.taken, above.key)
        return _Folder(path, Seen()) if self._in_order else _Folder(path, above.taken, folded(path))

    def _take_folder(self, above: _Folder, name: str) -> bool:
        if _split(name)[1]:  # it could be taken for a picture
            return self._take(above, name)
        return above.taken.add(f"folder {above.key}{folded(name)}")

    def _take(self, folder: _Folder, name: str) -> bool:
        """Claim a name in a folder, unless what it could become is taken: by names claimed before,
        or by what those could become."""
        seen, start = folder.taken, folder.key
        key, above = start + folded(name), [start + folded(each) for each in self._above(name)]
        # Stays claimed where the rest is not free, which harms nobody.
        if not seen.add(f"is {key}") or f"below {key}" in seen:
            return False
        if any(f"is {each}" in seen for each in above):
            return False
        for each in above:
            seen.add(f"below {each}")
        return True

    def _claim(self, folder: _Folder, name: str) -> None:
        """Claim a name as `_take` does, whether or not it is free."""
        folder.taken.add(f"is {folder.key}{folded(name)}")
        for each in self._above(name):
            folder.taken.add(f"below {folder.key}{folded(each)}")

    def _above(self, name: str) -> set[str]:
        """Names whose results could be called what this one's could be."""
        stem, own = _split(name)
        if not self._number and not self._every_page:  # as in most plans
            return {stem} if own else set()
        stems = {stem}
        if self._number:
            stems |= {_CANDIDATE.sub("", each) for each in stems}
        if self._every_page:
            stems |= {_PAGE.sub("", each) for each in stems}
        return {*stems, *(each + own for each in stems)} - {name}


def ending_of(candidates: int, rank_by: str | None, candidate: int, rank: int | None) -> str:
    """What tells a picture from the others of its photo: `.rank-1-by-nearness`; "" where there is
    but one. rank_by: as in the recipe; without it, the candidate's number tells, as it did before
    there was a choice. Folders list pictures by rank: it has as many digits for all of a photo."""
    if candidates == 1:
        return ""
    if rank_by is None:
        return f".candidate-{candidate}"
    assert rank is not None, "only what failed has none"
    return f".rank-{rank:0{len(str(candidates))}}-by-{rank_by}"


def output_path(name: str, suffix: str, which: str = "", page: int | None = None) -> str:
    """Where a result goes. suffix: without a dot. which: of `ending_of`. page: None where there is
    but one.

    The name keeps its own suffix where that means the format already, else it gets another.
    """
    stem, own = _split(name)
    if FORMAT_OF_SUFFIX.get(own.lower()) != FORMAT_OF_SUFFIX[f".{suffix}"]:
        stem, own = name, f".{suffix}"
    part = "" if page is None else f".page-{page:04d}"
    return f"images/{stem}{part}{which}{own}"


def former_output_path(
    photo: str, suffix: str, candidate: int | None, source: Storage, page: int | None = None
) -> str:
    """Where a result goes in a destination whose plan has no names: that was decided by what the
    source held when it was written, and its pictures are to stay where they are."""
    digits = "." + hashlib.sha256(photo.encode()).hexdigest()[:8]
    format = FORMAT_OF_SUFFIX[f".{suffix}"]
    own = PurePosixPath(photo).suffix
    if FORMAT_OF_SUFFIX.get(own.lower()) == format:
        stem, end = photo.removesuffix(own), own
    else:
        stem, end = photo, f".{suffix}"
        if source.exists(stem + end):
            stem += digits
    if page is not None:
        name = f".page-{page:04d}"
        taken = any(source.exists(stem + name + others) for others in (end, ""))
        stem += (digits if taken else "") + name
    number = "" if candidate is None else f".candidate-{candidate}"
    return f"images/{stem}{number}{end}"


def _split(name: str) -> tuple[str, str]:
    """A name without its suffix, and that; empty where it means no format."""
    head, dot, own = name.rpartition(".")
    known = dot and f".{own.lower()}" in FORMAT_OF_SUFFIX and head and not head.endswith("/")
    return (head, f".{own}") if known else (name, "")


def folded(name: str) -> str:
    """The same for names that a file system may take for the same."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _mark(path: str, attempt: int) -> str:
    text = f"{path}\0{attempt}" if attempt else path
    return f"~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _part(part: str) -> str:
    """A part of a path as every storage can hold it."""
    return "_" if part in ("", ".", "..") else part.replace("\0", "_")


def _cut(text: str, room: int) -> str:
    """Its beginning, of so many bytes at most."""
    return text if 4 * len(text) <= room else text.encode()[: max(room, 0)].decode(errors="ignore")
