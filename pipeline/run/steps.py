"""What happens to one shard: read, colorize, write. Plain callables, which run without Ray.

A photo that fails becomes a row and harms no other; nor does a page, where all are taken. Only a
store that is out of reach as a whole (StoreUnavailable) or a GPU at fault (DeviceFull,
DeviceBroken) leaves a stage: then nothing is committed, and the shard stays to be done.
Between the stages travel small arrays only; write fetches the master again.

Legend: R S low and high resolution of the model.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import (
    DeviceBroken,
    DeviceFull,
    EngineError,
    ObjectArchived,
    ObjectMissing,
    ObjectTooLarge,
    PhotoError,
    StorageError,
    StoreUnavailable,
    shown_in_line,
)
from pipeline.images.pages import MOST_PAGES, count_pages
from pipeline.images.pillow import MAX_PIXELS, read_small
from pipeline.ledger.names import former_output_path, output_path
from pipeline.ledger.plan import Photo, Run, RunSpec, Shard
from pipeline.ledger.results import Result, commit_shard, null_if_nan, results_path
from pipeline.ledger.seeds import photo_seed
from pipeline.ledger.shard_report import ShardReport, report_of
from pipeline.provenance.c2pa import Signer, sign_picture, write_signed
from pipeline.provenance.sidecar import sidecar_of, sidecar_path
from pipeline.review.previews import PreviewSheets
from pipeline.run.isolation import Call, call_here
from pipeline.run.logs import LOGGER
from pipeline.run.rendering import Picture, render
from pipeline.storage.base import Storage

if TYPE_CHECKING:
    from model.systems import AnyColorizer  # its torch would cost readers and writers seconds

MAX_BYTES = 2**31  # of a file; it is held in memory whole
CANDIDATES_AT_ONCE = 4  # of a photo, finished in memory while its master is decoded
PIXELS_AT_ONCE = 125_000_000  # of these candidates together, unless it is but one


@dataclass(frozen=True)
class ReadPhoto:
    """A page's facts and its small grays, uint8 (R, R) and (S, S); None where it is not done.

    Most photos have one page, and it is the first that is taken unless a run wants all.
    """

    result: Result
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Candidate:
    """One result of a page so far; None where it failed: its picture, uint8 (S, S, 3), and where
    the core was undecided, float32 (R, R), in bits."""

    result: Result
    rgb: np.ndarray | None = None
    entropy: np.ndarray | None = None


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
    every = [
        _read_photo(photo, shard, source, sizes, call, recolor, pages == "all")
        for photo in shard.photos
    ]
    return list(chain.from_iterable(every))


def colorize_shard(
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", spec: RunSpec, device: str
) -> list[list[Candidate]]:
    """The candidates of each page in their order, ranked; one without a picture where it failed.

    device: what the rows name as such. Where a GPU's memory is full, the colorizer's batch size is
    halved for good. Raises DeviceFull (no room for one photo) and DeviceBroken.
    """
    readable = [photo for photo in photos if photo.low is not None]
    colored = _colorize_halving(readable, colorizer, spec, device) if readable else []
    done = iter(colored)
    return [[Candidate(photo.result)] if photo.low is None else next(done) for photo in photos]


def write_shard(
    shard: int,
    photos: Sequence[Sequence[Candidate]],
    source: Storage,
    destination: Storage,
    run: Run,
    call: Call = call_here,
    workers: Mapping[str, str] | None = None,
    signer: Signer | None = None,
) -> ShardReport:
    """Write the pictures of a shard, then commit its rows. photos: the pages of each in order.

    Where another worker has committed it meanwhile, nothing is written. call: as in read_shard.
    workers: as in commit_shard. signer: signs the pictures. Raises StorageError.
    """
    by_photo = [list(pages) for _, pages in groupby(photos, lambda page: page[0].result.photo)]
    if destination.exists(results_path(shard)):
        failed = [any(page[0].result.status == "failed" for page in pages) for pages in by_photo]
        return ShardReport(len(failed), sum(failed))
    sheets = PreviewSheets(destination, shard)
    rows = [
        _write_photo(pages, source, destination, run.spec, call, signer, sheets)
        for pages in by_photo
    ]
    sheets.close()
    commit_shard(destination, shard, chain.from_iterable(rows), run.digest, workers)
    return report_of(rows)


def _read_photo(
    photo: Photo,
    shard: Shard,
    source: Storage,
    sizes: tuple[int, int],
    call: Call,
    recolor: bool,
    every_page: bool,
) -> list[ReadPhoto]:
    start = time.perf_counter()
    uri = source.uri_of(photo.path)
    result = Result(
        photo.path, uri, shard.number, photo.size, name=photo.name, attempt=shard.attempt
    )
    try:
        data = source.read(photo.path, MAX_BYTES)  # whatever size a listing has told
        digest, pages = hashlib.sha256(data).hexdigest(), count_pages(data)
        result = replace(result, source_sha256=digest, source_bytes=len(data), pages=pages)
        if every_page and pages > MOST_PAGES:
            raise PhotoError("too_large", f"{pages:,} pages; the limit is {MOST_PAGES:,}")
    except Exception as error:
        failed = _failed(result, error, "unreadable")
        return [ReadPhoto(replace(failed, read_seconds=time.perf_counter() - start))]
    found = []
    for page in range(1, pages + 1 if every_page else 2):
        found.append(_read_page(replace(result, page=page), data, sizes, call, recolor, start))
        start = time.perf_counter()  # the first one's time is that of fetching, too
    return found


def _read_page(
    result: Result,
    data: bytes,
    sizes: tuple[int, int],
    call: Call,
    recolor: bool,
    start: float,
) -> ReadPhoto:
    low = high = None
    try:
        info, (low, high) = call(read_small, data, sizes, MAX_PIXELS, result.page)
        result = replace(
            result,
            width=info.width,
            height=info.height,
            source_mode=info.mode,
            source_tone=info.tone,
        )
        if info.tone == "color" and not recolor:
            result, low, high = (
                replace(result, status="skipped", reason="already_color"),
                None,
                None,
            )
    except Exception as error:
        result = _failed(result, error, "unreadable")
    return ReadPhoto(replace(result, read_seconds=time.perf_counter() - start), low, high)


def _colorize_halving(
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", spec: RunSpec, device: str
) -> list[list[Candidate]]:
    """All photos at once; where that fails, each half, until the culprit is alone."""
    try:
        return _colorize_in_batches(photos, colorizer, spec, device)
    except EngineError:
        raise
    except Exception as error:
        if len(photos) == 1:
            return [[Candidate(_failed(photos[0].result, error, "internal"))]]
    # Out here the error is gone, and with it the memory that its frames have held.
    middle = len(photos) // 2
    halves = photos[:middle], photos[middle:]
    return [one for half in halves for one in _colorize_halving(half, colorizer, spec, device)]


def _colorize_in_batches(
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", spec: RunSpec, device: str
) -> list[list[Candidate]]:
    """All photos, in batches that a GPU has memory for. Raises DeviceFull and DeviceBroken.

    Inputs are of one size and the core always draws whole batches: no single photo is at fault
    where memory is full.
    """
    import torch

    while True:
        try:
            return _colorize_photos(photos, colorizer, spec, device)
        except torch.OutOfMemoryError as error:
            if colorizer.batch_size == 1:
                raise DeviceFull(
                    f"{device} has not enough memory for one photo: --precision bfloat16, fewer"
                    " processes on it (--gpus-per-actor) or a larger one would help"
                ) from error
            colorizer.batch_size //= 2
            LOGGER.warning(
                "%s is out of memory: batches of %d photos from here on",
                device,
                colorizer.batch_size,
                exc_info=error,
            )
        except RuntimeError as error:
            if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
                raise DeviceBroken(f"{device}: {error}") from error
            raise
        torch.cuda.empty_cache()  # out here the error is gone, and what its frames have held


def _colorize_photos(
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", spec: RunSpec, device: str
) -> list[list[Candidate]]:
    start = time.perf_counter()
    count = spec.candidates
    low, high = (
        np.repeat(np.stack(grays), count, axis=0)
        for grays in zip(*((photo.low, photo.high) for photo in photos), strict=True)
    )
    seeds = [
        photo_seed(spec.seed, str(photo.result.source_sha256), candidate, photo.result.page)
        for photo in photos
        for candidate in range(count)
    ]
    colors = colorizer.colorize(low, high, seeds, spec.temperature)
    seconds = (time.perf_counter() - start) / len(seeds)
    colored = []
    for first in range(0, len(seeds), count):
        places = range(first, first + count)
        likeliest = sorted(places, key=lambda place: (-colors.log_likelihood[place], place))
        colored.append(
            [
                Candidate(
                    replace(
                        photos[first // count].result,
                        candidate=place - first,
                        rank=likeliest.index(place) + 1,
                        seed=seeds[place],
                        log_likelihood=null_if_nan(colors.log_likelihood[place]),
                        bits_per_pixel=null_if_nan(colors.bits_per_pixel[place]),
                        color_bits_per_dim=null_if_nan(colors.color_bits_per_dim[place]),
                        spatial_bits_per_dim=null_if_nan(colors.spatial_bits_per_dim[place]),
                        model_seconds=seconds,
                        device=device,
                    ),
                    colors.rgb[place],
                    colors.entropy[place],
                )
                for place in places
            ]
        )
    return colored


def _write_photo(
    pages: Sequence[Sequence[Candidate]],
    source: Storage,
    destination: Storage,
    spec: RunSpec,
    call: Call,
    signer: Signer | None,
    sheets: PreviewSheets,
) -> list[Result]:
    """Results of a photo: its pictures are written, or its rows say why not.

    A page's candidates share the time that it took, which decoding the master is part of.
    """
    rows: list[Result] = []
    master: bytes | Exception | None = None
    for candidates in pages:
        results, start = [candidate.result for candidate in candidates], time.perf_counter()
        if results[0].status == "ok":
            master = master or _fetch_master(results[0], source)
            if isinstance(master, Exception):
                results = [_failed(result, master, "unreadable") for result in results]
            else:
                at_once = _at_once(results[0])
                results = []
                for first in range(0, len(candidates), at_once):
                    some = candidates[first : first + at_once]
                    results += _write_candidates(
                        some, master, source, destination, spec, call, signer, sheets
                    )
            seconds = (time.perf_counter() - start) / len(results)
            results = [replace(result, write_seconds=seconds) for result in results]
        rows += [replace(result, finished_at=datetime.now(UTC)) for result in results]
    return rows


def _at_once(result: Result) -> int:
    pixels = (result.width or 1) * (result.height or 1)
    return max(1, min(CANDIDATES_AT_ONCE, PIXELS_AT_ONCE // pixels))


def _fetch_master(result: Result, source: Storage) -> bytes | Exception:
    """The file, or why there is none: for all pages, as it is asked for but once."""
    try:
        data = source.read(result.photo, MAX_BYTES)
    except Exception as error:
        return error
    if hashlib.sha256(data).hexdigest() != result.source_sha256:
        return PhotoError("changed", "the file has changed between reading and writing")
    return data


def _own_page(result: Result, spec: RunSpec) -> int | None:
    """Which of several pages that are all done; None for all others."""
    return result.page if spec.pages == "all" and (result.pages or 1) > 1 else None


def _write_candidates(
    candidates: Sequence[Candidate],
    data: bytes,
    source: Storage,
    destination: Storage,
    spec: RunSpec,
    call: Call,
    signer: Signer | None,
    sheets: PreviewSheets,
) -> list[Result]:
    sign = partial(sign_picture, signer, candidates[0].result.photo) if signer else None
    try:
        seeds = [candidate.result.seed for candidate in candidates]
        colors = [candidate.rgb for candidate in candidates]
        page = _own_page(candidates[0].result, spec)
        pictures = call(render, data, colors, spec, seeds, sign, page)
    except Exception as error:
        return [_failed(candidate.result, error, "write_error") for candidate in candidates]
    return [
        _write_candidate(candidate, picture, source, destination, spec, signer, sheets)
        for candidate, picture in zip(candidates, pictures, strict=True)
    ]


def _write_candidate(
    candidate: Candidate,
    picture: Picture | PhotoError,
    source: Storage,
    destination: Storage,
    spec: RunSpec,
    signer: Signer | None,
    sheets: PreviewSheets,
) -> Result:
    result = candidate.result
    try:
        if isinstance(picture, PhotoError):
            raise picture
        number = None if spec.candidates == 1 else result.candidate
        page = _own_page(result, spec)
        if result.name is None:
            path = former_output_path(result.photo, picture.suffix, number, source, page)
        else:
            path = output_path(result.name, picture.suffix, number, page)
        file = picture.file
        if signer is None:
            destination.write(path, file)
        else:
            file = write_signed(destination, path, file)
        written = replace(
            result,
            output_uri=destination.uri_of(path),
            output_sha256=hashlib.sha256(file).hexdigest(),
            output_bytes=len(file),
            colorfulness=picture.colorfulness,
            note="; ".join(filter(None, (result.note, picture.note))) or None,
        )
        if spec.sidecar:
            destination.write(sidecar_path(path), sidecar_of(asdict(written), path, spec))
    except Exception as error:
        return _failed(result, error, "write_error")
    if candidate.entropy is None:
        return written
    return replace(written, preview=sheets.add(picture.preview, candidate.entropy))


def _failed(result: Result, error: Exception, of_store: str) -> Result:
    """The row of a photo that failed; of_store is the reason where the store refused it."""
    if isinstance(error, StoreUnavailable):
        raise error
    if isinstance(error, PhotoError):
        reason, text = error.reason, str(error)
    elif isinstance(error, ObjectMissing):
        reason, text = "missing", str(error)
    elif isinstance(error, ObjectArchived):
        reason, text = "archived", str(error)
    elif isinstance(error, ObjectTooLarge):
        reason, text = "too_large", str(error)
    elif isinstance(error, StorageError):
        reason, text = of_store, str(error)
    elif isinstance(error, MemoryError):
        reason, text = "out_of_memory", str(error) or "not enough memory"
    else:
        reason, text = "internal", f"{type(error).__name__}: {error}"
    LOGGER.warning(
        "%s: %s: %s", shown_in_line(result.photo), reason, shown_in_line(text), exc_info=error
    )
    return replace(
        result, status="failed", reason=reason, error=" ".join(text.split())[:500], rank=None
    )
