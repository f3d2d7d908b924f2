"""Colorize: small grays in, small pictures with their scores out, ranked.

Legend: R S low and high resolution of the model.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import DeviceBroken, DeviceFull, EngineError
from pipeline.images.hints import HintColor, hint_colors
from pipeline.ledger.palettes import palette_digest
from pipeline.ledger.ranking import FORMER, RANKINGS, ranks
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.results import Result, null_if_nan
from pipeline.ledger.seeds import photo_seed
from pipeline.run.known_colors import Hinted, known_colors
from pipeline.run.logs import LOGGER
from pipeline.run.steps.failures import failed
from pipeline.run.steps.reading import ReadPhoto

if TYPE_CHECKING:
    from model.colorized import Colorized
    from model.systems import AnyColorizer  # its torch would cost readers and writers seconds

_SCORES = (
    *("log_likelihood", "bits_per_pixel", "color_bits_per_dim", "spatial_bits_per_dim"),
    *("excess_bits", "mean_distance", "chroma_excess"),
)


@dataclass(frozen=True)
class Candidate:
    """One result of a page so far; None where it failed: its picture, uint8 (S, S, 3), and where
    the core was undecided, float32 (R, R), in bits. hints: that the picture has to show."""

    result: Result
    rgb: np.ndarray | None = None
    entropy: np.ndarray | None = None
    hints: tuple[HintColor, ...] = ()


def colorize_shard(
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", recipe: Recipe, device: str
) -> list[list[Candidate]]:
    """The candidates of each page in their order, ranked; one without a picture where it failed.

    device: what the rows name as such. Where a GPU's memory is full, the colorizer's batch size is
    halved for good. Raises DeviceFull (no room for one photo) and DeviceBroken.
    """
    readable = [photo for photo in photos if photo.low is not None]
    colored = _colorize_halving(readable, colorizer, recipe, device) if readable else []
    done = iter(colored)
    return [[Candidate(photo.result)] if photo.low is None else next(done) for photo in photos]


def _colorize_halving(
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", recipe: Recipe, device: str
) -> list[list[Candidate]]:
    """All photos at once; where that fails, each half, until the culprit is alone."""
    try:
        return _colorize_in_batches(photos, colorizer, recipe, device)
    except EngineError:
        raise
    except Exception as error:
        if len(photos) == 1:
            return [[Candidate(failed(photos[0].result, error, "internal"))]]
    # Out here the error is gone, and with it the memory that its frames have held.
    middle = len(photos) // 2
    halves = photos[:middle], photos[middle:]
    return [one for half in halves for one in _colorize_halving(half, colorizer, recipe, device)]


def _colorize_in_batches(
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", recipe: Recipe, device: str
) -> list[list[Candidate]]:
    """All photos, in batches that a GPU has memory for. Raises DeviceFull and DeviceBroken.

    Inputs are of one size and the core always draws whole batches: no single photo is at fault
    where memory is full.
    """
    import torch

    while True:
        try:
            return _colorize_photos(photos, colorizer, recipe, device)
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
    photos: Sequence[ReadPhoto], colorizer: "AnyColorizer", recipe: Recipe, device: str
) -> list[list[Candidate]]:
    start, count = time.perf_counter(), recipe.candidates
    wanted = [(photo, number) for photo in photos for number in range(count)]
    seeds = [
        photo_seed(recipe.seed, str(photo.result.source_sha256), number, photo.result.page)
        for photo, number in wanted
    ]
    hinted = [_hinted(photo, recipe.palette) for photo, _ in wanted]
    low, high = map(np.stack, zip(*((photo.low, photo.high) for photo, _ in wanted), strict=True))
    colors = colorizer.colorize(low, high, seeds, recipe.temperature, **known_colors(hinted))
    seconds = (time.perf_counter() - start) / len(wanted)
    candidates = []
    for place, (photo, number) in enumerate(wanted):
        result = replace(
            photo.result,
            candidate=number,
            seed=seeds[place],
            palette_sha256=palette_digest(hinted[place].palette),
            **_scores(colors, place),
            model_seconds=seconds,
            device=device,
        )
        picture = hinted[place].pinned(colors.rgb[place], high[place])
        candidates.append(Candidate(result, picture, colors.entropy[place], hinted[place].hints))
    firsts = range(0, len(wanted), count)
    return [_ranked(candidates[first : first + count], recipe) for first in firsts]


def _ranked(page: Sequence[Candidate], recipe: Recipe) -> list[Candidate]:
    rank_by = recipe.rank_by or FORMER
    ranked = ranks(RANKINGS[rank_by], [vars(each.result) for each in page])
    named = rank_by if len(page) > 1 else None
    return [
        replace(each, result=replace(each.result, rank=rank, rank_by=named))
        for each, rank in zip(page, ranked, strict=True)
    ]


def _scores(colors: "Colorized", place: int) -> dict[str, Any]:
    return {name: null_if_nan(getattr(colors, name)[place]) for name in _SCORES}


def _hinted(photo: ReadPhoto, palette: str | None) -> Hinted:
    assert photo.low is not None and photo.result.width and photo.result.height
    size = photo.result.width, photo.result.height
    return Hinted(photo.low, *size, hint_colors(photo.hints), photo.palette or palette)
