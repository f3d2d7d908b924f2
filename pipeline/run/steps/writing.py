"""Write: masters of a shard in color and at full size, their previews, and the commit."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, groupby

from pipeline.errors import PhotoError
from pipeline.images.formats import FORMAT_OF_SUFFIX
from pipeline.images.phash import perceptual_hash
from pipeline.ledger.names import ending_of, former_output_path, output_path
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import Result, commit_shard, results_path
from pipeline.ledger.run_file import Run
from pipeline.ledger.shard_report import ShardReport, report_of
from pipeline.provenance.c2pa import Signer, is_stamped
from pipeline.provenance.sidecar import sidecar_of, sidecar_path
from pipeline.provenance.signing import sign_stamped, write_signed
from pipeline.review.previews import PreviewSheets
from pipeline.run.isolation import Call, call_here
from pipeline.run.rendering import Picture, render
from pipeline.run.steps.colorizing import Candidate
from pipeline.run.steps.failures import failed
from pipeline.run.steps.reading import MAX_BYTES
from pipeline.storage.base import Storage

CANDIDATES_AT_ONCE = 4  # of a photo, finished in memory while its master is decoded
PIXELS_AT_ONCE = 125_000_000  # of these candidates together, unless it is but one


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
    if destination.find(results_path(shard)):  # not a folder, say, of that name
        failures = [any(page[0].result.status == "failed" for page in pages) for pages in by_photo]
        return ShardReport(len(failures), sum(failures))
    with destination.together() as together:
        sheets = PreviewSheets(together, shard)
        writer = _Writer(source, together, run.recipe, call, signer, sheets)
        rows = [writer.write_photo(pages) for pages in by_photo]
        sheets.close()
    commit_shard(destination, shard, chain.from_iterable(rows), run.digest, workers)
    return report_of(rows)


@dataclass(frozen=True)
class _Writer:
    """What all photos of a shard have in common when they are written."""

    source: Storage
    destination: Storage
    recipe: Recipe
    call: Call
    signer: Signer | None
    sheets: PreviewSheets

    def write_photo(self, pages: Sequence[Sequence[Candidate]]) -> list[Result]:
        """Results of a photo: its pictures are written, or its rows say why not.

        A page's candidates share the time that it took, which decoding the master is part of.
        """
        rows: list[Result] = []
        master: bytes | Exception | None = None
        for candidates in pages:
            results, start = [candidate.result for candidate in candidates], time.perf_counter()
            if results[0].status == "ok":
                master = master or fetch_master(results[0], self.source)
                results = self._write_page(candidates, master)
                seconds = (time.perf_counter() - start) / len(results)
                results = [replace(result, write_seconds=seconds) for result in results]
            elif results[0].status == "failed":
                self.sheets.skip(self.recipe.candidates)
            rows += [replace(result, finished_at=datetime.now(UTC)) for result in results]
        return rows

    def _write_page(
        self, candidates: Sequence[Candidate], master: bytes | Exception
    ) -> list[Result]:
        if isinstance(master, Exception):
            return self._failed(candidates, master, "unreadable")
        size = candidates_at_once(candidates[0].result)
        groups = (candidates[first : first + size] for first in range(0, len(candidates), size))
        return [row for group in groups for row in self._write_candidates(group, master)]

    def _write_candidates(self, candidates: Sequence[Candidate], master: bytes) -> list[Result]:
        first = candidates[0].result
        sign = partial(sign_stamped, self.signer, first.photo) if self.signer else None
        try:
            seeds = [candidate.result.seed for candidate in candidates]
            colors = [candidate.rgb for candidate in candidates]
            page = _own_page(first, self.recipe)
            hints = candidates[0].hints
            pictures = self.call(render, master, colors, self.recipe, seeds, sign, page, hints)
        except Exception as error:
            return self._failed(candidates, error, "write_error")
        return list(map(self._write_candidate, candidates, pictures))

    def _write_candidate(self, candidate: Candidate, picture: Picture | PhotoError) -> Result:
        result = candidate.result
        try:
            if isinstance(picture, PhotoError):
                raise picture
            path = self._output_path(result, picture.suffix)
            file, unstamped = self._write_picture(path, picture)
            written = replace(
                result,
                output_uri=self.destination.uri_of(path),
                output_sha256=hashlib.sha256(file).hexdigest(),
                output_bytes=len(file),
                colorfulness=picture.colorfulness,
                phash=perceptual_hash(picture.preview),
                note="; ".join(filter(None, (result.note, picture.note, unstamped))) or None,
            )
            if self.recipe.sidecar:
                sidecar = sidecar_of(vars(written), path, self.recipe)
                self.destination.write(sidecar_path(path), sidecar)
        except Exception as error:
            return self._failed([candidate], error, "write_error")[0]
        if candidate.entropy is None:
            return written
        return replace(written, preview=self.sheets.add(picture.preview, candidate.entropy))

    def _failed(
        self, candidates: Sequence[Candidate], error: Exception, if_refused: str
    ) -> list[Result]:
        """The rows of what failed, whose cells stay empty."""
        self.sheets.skip(len(candidates))
        return [failed(candidate.result, error, if_refused) for candidate in candidates]

    def _write_picture(self, path: str, picture: Picture) -> tuple[bytes, str]:
        """Write a picture. Returns the file that is there then, which may be another worker's, and
        why it has no time stamp where one was asked for. Raises StorageError."""
        if self.signer is None:
            self.destination.write(path, picture.file)
            return picture.file, ""
        file = write_signed(self.destination, path, picture.file)
        if file is picture.file or self.signer.authority is None:
            return file, picture.unstamped
        if is_stamped(file, FORMAT_OF_SUFFIX[f".{picture.suffix}"]):  # another worker's
            return file, ""
        return file, picture.unstamped or "no time stamp: it was signed before without one"

    def _output_path(self, result: Result, suffix: str) -> str:
        recipe, page = self.recipe, _own_page(result, self.recipe)
        if result.name is None:
            number = None if recipe.candidates == 1 else result.candidate
            return former_output_path(result.photo, suffix, number, self.source, page)
        which = ending_of(recipe.candidates, recipe.rank_by, result.candidate, result.rank)
        return output_path(result.name, suffix, which, page)


def candidates_at_once(result: Result) -> int:
    """How many candidates of a photo are held in memory at full size."""
    pixels = (result.width or 1) * (result.height or 1)
    return max(1, min(CANDIDATES_AT_ONCE, PIXELS_AT_ONCE // pixels))


def fetch_master(result: Result, source: Storage) -> bytes | Exception:
    """The file, or why there is none: for all pages, as it is asked for but once."""
    try:
        data = source.read(result.photo, MAX_BYTES)
    except Exception as error:
        return error
    if hashlib.sha256(data).hexdigest() != result.source_sha256:
        return PhotoError("changed", "the file has changed between reading and writing")
    return data


def _own_page(result: Result, recipe: Recipe) -> int | None:
    """Which of several pages that are all done; None for all others."""
    return result.page if recipe.pages == "all" and (result.pages or 1) > 1 else None
