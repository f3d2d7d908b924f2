"""Read: masters of a shard, fetched, hashed and decoded to the model's small grays.

Legend: R S low and high resolution of the model.
"""

import hashlib
import time
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from pipeline.errors import PhotoError
from pipeline.images.hints import Hint
from pipeline.images.masters import MAX_PIXELS, read_small
from pipeline.images.pages import MOST_PAGES, count_pages
from pipeline.ledger.hints import hints_digest, parse_hints
from pipeline.ledger.plan import Photo, Shard
from pipeline.ledger.results import Result
from pipeline.run.isolation import Call, call_here
from pipeline.run.steps.failures import failed
from pipeline.storage.base import Storage

MAX_BYTES = 2**31  # of a file; it is held in memory whole


@dataclass(frozen=True)
class ReadPhoto:
    """A page's facts and its small grays, uint8 (R, R) and (S, S); None where it is not done.

    Most photos have one page, and it is the first that is taken unless a run wants all. hints: of
    this page. palette: its own, as in plan.Photo.
    """

    result: Result
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    hints: tuple[Hint, ...] = ()
    palette: str | None = None


def read_shard(
    shard: Shard,
    source: Storage,
    sizes: tuple[int, int],
    call: Call = call_here,
    recolor: bool = False,
    pages: str = "first",
) -> list[ReadPhoto]:
    """Fetch, hash and decode the photos of a shard to the sizes (R, S); their pages in order.

    call: how what may crash is called. recolor: those in color are not skipped. pages: first or
    all. Raises StoreUnavailable.
    """
    reader = _Reader(shard, source, sizes, call, recolor, pages == "all")
    return list(chain.from_iterable(map(reader.read_photo, shard.photos)))


@dataclass(frozen=True)
class _Reader:
    """What all photos of a shard have in common when they are read."""

    shard: Shard
    source: Storage
    sizes: tuple[int, int]
    call: Call
    recolor: bool
    every_page: bool

    def read_photo(self, photo: Photo) -> list[ReadPhoto]:
        """Its pages; one that says why, where it cannot be read."""
        start = time.perf_counter()
        result = Result(
            *(photo.path, self.source.uri_of(photo.path), self.shard.number, photo.size),
            name=photo.name,
            attempt=self.shard.attempt,
        )
        try:
            hints = parse_hints("the plan", photo.hints or "")
            data = self.source.read(photo.path, MAX_BYTES)  # whatever size a listing has told
            digest, pages = hashlib.sha256(data).hexdigest(), count_pages(data)
            result = replace(result, source_sha256=digest, source_bytes=len(data), pages=pages)
            if self.every_page and pages > MOST_PAGES:
                raise PhotoError("too_large", f"{pages:,} pages; the limit is {MOST_PAGES:,}")
        except Exception as error:
            row = failed(result, error, "unreadable")
            return [ReadPhoto(replace(row, read_seconds=time.perf_counter() - start))]
        found = []
        for page in range(1, pages + 1 if self.every_page else 2):
            own = tuple(hint for hint in hints if hint.page == page)
            told = replace(result, page=page, hints=len(own))
            told = replace(told, hints_sha256=hints_digest(own)) if own else told
            read = self._read_page(told, data, start)
            found.append(replace(read, hints=own, palette=photo.palette))
            start = time.perf_counter()  # the first one's time is that of fetching, too
        return found

    def _read_page(self, result: Result, data: bytes, start: float) -> ReadPhoto:
        low = high = None
        try:
            info, (low, high) = self.call(read_small, data, self.sizes, MAX_PIXELS, result.page)
            result = replace(
                result,
                width=info.width,
                height=info.height,
                source_mode=info.mode,
                source_tone=info.tone,
            )
            if info.tone == "color" and not self.recolor:
                result = replace(result, status="skipped", reason="already_color")
                low = high = None
        except Exception as error:
            result = failed(result, error, "unreadable")
        result = replace(result, read_seconds=time.perf_counter() - start)
        return ReadPhoto(result, low, high)
