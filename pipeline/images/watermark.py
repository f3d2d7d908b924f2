"""An imperceptible mark in the chroma of a picture, which says of which run and photo it is.

Experimental. A picture is part of a square of cells, as many along its longer side whatever its
size. In each cell Cb and Cr are raised or lowered: in some by a pattern that is always the same, by
which the place is found, in the others by a bit of the coded payload. Luminance stays.

Legend: H W rows and columns of a picture, h rows of one band, G cells along the longer side.
"""

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from pipeline.images.chroma import LUMA
from pipeline.images.pictures import resize_plane
from pipeline.images.watermark_code import CODED, decoded, encoded

STRENGTH = 0.6  # codes of 8 bits, where a color is weak; more in strong ones. What others are for:
# see watermark_strength
CELLS = 64
READ_AT = 512  # pixels of the square from which the mark is read
TO_BLUE, TO_RED = 1.772, 1.402  # from Cb and Cr to B and R less the luma: Rec. 601
_SYNC_SHARE = 0.25  # of the cells
_SAMPLES = 4  # of a cell, along each side, where it is read
_SIDE = CELLS * _SAMPLES
_NEAR, _FAR = 4, 8  # samples: of what is taken away, and of a neighborhood
_NOISE = 0.15  # variance of what rounding and encoding add, about
_LEAST_PART, _READINGS = 0.6, 4
_LEAST_FIT = 3.0  # a picture without any detail fits nowhere


class Cells(NamedTuple):
    """Patterns (2, G, G) of Cb and Cr: signs, float32; which are for finding; and whose bit."""

    signs: np.ndarray
    sync: np.ndarray
    owner: np.ndarray


@cache
def _cells() -> Cells:
    random = np.random.Generator(np.random.PCG64(20260802))
    shape = (2, CELLS, CELLS)
    raw = random.bytes(2 * CELLS * CELLS * 4)  # bytes: the same in every version of NumPy
    numbers = np.frombuffer(raw, "<u4").reshape(shape)
    signs = (numbers & 1).astype(np.float32) * 2 - 1
    sync = (numbers >> 1 & 255) < _SYNC_SHARE * 256
    return Cells(signs, sync, (numbers >> 9) % CODED)


def watermarked(
    parts: Iterable[np.ndarray], height: int, width: int, payload: int, strength: float = STRENGTH
) -> Iterator[np.ndarray]:
    """Bands uint8 or uint16 (h, W, 3) of a picture (H, W), with the payload in their chroma."""
    signs, sync, owner = _cells()
    pattern = signs * np.where(sync, np.float32(1), encoded(payload)[owner])
    side = max(height, width)
    left, across = _between(np.arange(width), side)
    held, wide = (0, 0), np.empty((2, 0, width), np.float32)
    first = 0
    for part in parts:
        low, share = _between(np.arange(first, first + len(part)), side)
        top, end = int(low[0]), int(low[-1]) + 2
        if held != (top, end):  # of a very wide picture, all rows would take far more than a band
            held, rows = (top, end), pattern[:, top:end]
            wide = rows[..., left] * (1 - across) + rows[..., left + 1] * across
        low, share = low - top, share[:, None]
        blue, red = wide[:, low] * (1 - share) + wide[:, low + 1] * share
        first += len(part)
        yield _put(part, blue, red, strength)


def _between(places: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The cell before each pixel's center, and how far it is on the way to the next, 0 to 1."""
    at = ((places + 0.5) * (CELLS / side) - 0.5).clip(0, CELLS - 1.001)
    low = at.astype(np.int64)
    way = ((at - low - 0.2) / 0.6).clip(0, 1)
    return low, (way * way * (3 - 2 * way)).astype(np.float32)


def _gains(blue: np.ndarray, red: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far Cb and Cr may move, in codes: further in strong colors, where it is seen less."""
    chroma = np.sqrt(blue * blue + red * red)
    gain = (chroma / 2).clip(0, 1) * (1 + 0.04 * chroma.clip(0, 50))
    return gain * 1.1, gain * 0.9


def _put(part: np.ndarray, blue: np.ndarray, red: np.ndarray, strength: float) -> np.ndarray:
    """A band uint8 or uint16 (h, W, 3) with its chroma moved and its luma kept; pixels that would
    leave the range of codes stay as they are. blue, red: which way Cb and Cr move, -1 to 1."""
    highest = int(np.iinfo(part.dtype).max)
    codes = np.float32(highest / 255)  # in units of which strengths are
    before = part.astype(np.float32)
    luma = before[..., 0] * np.float32(LUMA[0]) + before[..., 1] * np.float32(LUMA[1])
    luma += before[..., 2] * np.float32(LUMA[2])
    whole = np.rint(luma)
    luma = np.where(np.abs(luma - whole) < 0.31, whole, luma)
    to_blue, to_red = _gains(
        (before[..., 2] - luma) / (TO_BLUE * codes),
        (before[..., 0] - luma) / (TO_RED * codes),
    )
    after = np.empty_like(before)
    step = np.float32(strength) * codes
    after[..., 0] = np.rint(before[..., 0] + TO_RED * step * to_red * red)
    after[..., 2] = np.rint(before[..., 2] + TO_BLUE * step * to_blue * blue)
    rest = luma - np.float32(LUMA[0]) * after[..., 0] - np.float32(LUMA[2]) * after[..., 2]
    after[..., 1] = np.rint(rest / np.float32(LUMA[1]))
    outside = ((after < 0) | (after > highest)).any(axis=2)
    after[outside] = before[outside]
    return after.astype(part.dtype)


class Votes(NamedTuple):
    """planes: float32 (2, h, w), how much each sample speaks for more Cb and Cr. fit: how well the
    pattern fits at its best place, in standard deviations of chance. top, left: that place."""

    planes: np.ndarray
    fit: float
    top: int
    left: int


def read_watermark(rgb_SS3: np.ndarray, height: int, width: int, share: float = 1) -> int | None:
    """As find_watermark, of a picture that is known to be so large a share of what was marked."""
    evidence = _evidence(rgb_SS3, height, width)
    return _read(_place(evidence, height, width, round(_SIDE * share)))


def find_watermark(rgb_SS3: np.ndarray, height: int, width: int) -> int | None:
    """The payload in a picture, uint8 (S, S, 3), of which (height, width) was squeezed to a square.

    It may be a part of what was marked, down to _LEAST_PART along the longer side. Four readings at
    most, each with a checksum that fits by chance for one in 65,536: of 16,000 pictures without a
    mark, one has a payload.
    """
    evidence = _evidence(rgb_SS3, height, width)
    whole = _place(evidence, height, width, _SIDE)
    payload = _read(whole)
    if payload is not None:
        return payload
    coarse = [
        (_place(evidence, height, width, length).fit, length)
        for length in range(int(_SIDE * _LEAST_PART), _SIDE, 2)
    ]
    (_, first), (_, second) = sorted(coarse, reverse=True)[:2]
    lengths = sorted({each + step for each in (first, second) for step in (-1, 0, 1)})
    fine = [_place(evidence, height, width, length) for length in lengths if length < _SIDE]
    for votes in sorted(fine, key=lambda each: -each.fit)[: _READINGS - 1]:
        payload = _read(votes)
        if payload is not None:
            return payload
    return None


def _place(evidence: np.ndarray, height: int, width: int, length: int) -> Votes:
    """Where the pattern fits best, if the longer side is so many samples of _SIDE."""
    known, _, spectra = _templates()
    tall, wide = (max(1, round(each * length / max(height, width))) for each in (height, width))
    planes = np.stack([resize_plane(plane, (wide, tall)) for plane in evidence])
    own = np.fft.rfft2(planes, (_SIDE, _SIDE)).conj()
    fits = np.fft.irfft2((spectra * own).sum(axis=0), (_SIDE, _SIDE))
    fits = fits[: _SIDE - tall + 1, : _SIDE - wide + 1]
    top, left = divmod(int(fits.argmax()), fits.shape[1])
    energy = float(np.square(planes, dtype=np.float64).sum() * np.square(known).mean())
    return Votes(planes, float(fits[top, left]) / math.sqrt(max(energy, 1e-9)), top, left)


def _read(votes: Votes) -> int | None:
    if votes.fit < _LEAST_FIT:
        return None
    _, data, _ = _templates()
    tall, wide = votes.planes.shape[1:]
    rows, columns = slice(votes.top, votes.top + tall), slice(votes.left, votes.left + wide)
    owner = _cells().owner.repeat(_SAMPLES, axis=1).repeat(_SAMPLES, axis=2)
    products = votes.planes * data[:, rows, columns]
    return decoded(np.bincount(owner[:, rows, columns].ravel(), products.ravel(), CODED))


@cache
def _templates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patterns (2, _SIDE, _SIDE) of the cells for finding and of the others, the spectra of the
    former."""
    signs, sync, _ = _cells()
    low, share = _between(np.arange(_SIDE), _SIDE)
    both = []
    for chosen in (sync, ~sync):
        planes = signs * chosen
        rows = planes[:, low] * (1 - share[:, None]) + planes[:, low + 1] * share[:, None]
        both.append(rows[..., low] * (1 - share) + rows[..., low + 1] * share)
    return both[0], both[1], np.fft.rfft2(both[0])


def _evidence(rgb_SS3: np.ndarray, height: int, width: int) -> np.ndarray:
    """How much each sample speaks for a raised Cb and Cr: float32 (2, h, w).

    What a picture has of its own is in the way. It is told from the surroundings and, as color
    changes where light does, from the luminance and the other color difference: a sample counts by
    the inverse covariance of the three in its neighborhood.
    """
    longer = max(height, width)
    size = max(1, round(width * _SIDE / longer)), max(1, round(height * _SIDE / longer))
    red, green, blue = (
        resize_plane(rgb_SS3[..., channel], size).astype(np.float64) for channel in range(3)
    )
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    planes = np.stack([luma, (blue - luma) / TO_BLUE, (red - luma) / TO_RED])
    detail = planes - _means(planes, _NEAR)
    spread = np.moveaxis(_means(detail[:, None] * detail, _FAR), (0, 1), (2, 3))
    spread = spread + np.eye(3) * _NOISE
    found = np.linalg.solve(spread, np.moveaxis(detail, 0, -1)[..., None])[..., 0]
    found = np.moveaxis(found, -1, 0)[1:] * np.stack(_gains(*_means(planes[1:], 2)))
    return np.asarray(found - _means(found, _NEAR), np.float32)


def _means(planes: np.ndarray, reach: int) -> np.ndarray:
    """Over squares of 2 * reach + 1 along the last two axes; at borders as if mirrored."""
    around = [(0, 0)] * (planes.ndim - 2)
    sums = np.pad(planes, [*around, (reach, reach), (reach, reach)], mode="symmetric")
    sums = np.pad(sums.cumsum(-2).cumsum(-1), [*around, (1, 0), (1, 0)])
    size = 2 * reach + 1
    total = sums[..., size:, size:] - sums[..., :-size, size:]
    total += sums[..., :-size, :-size] - sums[..., size:, :-size]
    return np.asarray(total / size**2)
