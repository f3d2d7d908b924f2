"""Samples of any kind -> gray, with numpy alone, in bands of rows.

Legend: H W rows and columns, C channels, h rows of one band. Gray is the Rec. 601 luma 0.299 R +
0.587 G + 0.114 B in sRGB, rounded: uint8 [0, 255] of masters with up to 8 bits a sample, uint16 [0,
65535] of those with more. Gray of 8 or 16 bits is not changed at all.

- Other integers: value * 65535 / white, where white is that of the declared depth (4095, or 32767
  if signed); below zero is black. A dark scan stays dark, unless it states that its samples end at
  the white of fewer bits.
- Floats and 32 bits, which declare no white: white is the first of 1, 255 and 65535 that is at
  least half of nearly all values (scans overshoot, and hot pixels are far above the rest); else the
  largest integer of this type, if values reach half of it; else the largest value itself.
- CMYK without a profile: R = (1 - C)(1 - K), and so on. CIE Lab: the gray of the same lightness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from pipeline.images.chroma import LUMA_THOUSANDTHS, bands

Kind = Literal["gray", "rgb", "cmyk", "lab"]
_FEW, _HOT = 0.001, 8  # share of pixels that may be hot, and how many times as bright they are
_OCTAVES = 2200  # of floats of 64 bits
CHANNELS: dict[Kind, int] = {"gray": 1, "rgb": 3, "cmyk": 4, "lab": 3}
_RGB_OF_XYZ_D50 = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)

# A band uint8 or uint16 (h, W, C) -> the same in sRGB, (h, W, 3).
Profile = Callable[[np.ndarray], np.ndarray]


class Rows(Protocol):
    """An array (H, W, C), or something that makes its rows on demand."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Samples:
    """Pixels as stored: (H, W, C) of any type, more channels than the kind has are dropped.

    white: the value of white; None if it must be guessed from the values. inverted: zero is white.
    premultiplied: the first channel beyond the kind's is alpha, and is multiplied in. note: for
    people, what was concluded about white.
    """

    values: Rows
    kind: Kind
    white: float | None
    inverted: bool = False
    premultiplied: bool = False
    note: str = ""


def gray_of(samples: Samples, profile: Profile | None = None) -> np.ndarray:
    """Gray uint8 or uint16 (H, W), by the rules above. profile: as in color_profiles."""
    levels = _Levels(samples)
    height, width = samples.values.shape[:2]
    gray = np.empty((height, width), levels.dtype)
    for rows in bands(height, width):
        band = levels.band(samples.values[rows])
        gray[rows] = _gray_band(band, samples.kind, profile, levels.highest)
    return gray


def color_of(samples: Samples, profile: Profile | None = None) -> np.ndarray:
    """As gray_of, in color: sRGB uint8 or uint16 (H, W, 3)."""
    levels = _Levels(samples)
    height, width = samples.values.shape[:2]
    color = np.empty((height, width, 3), levels.dtype)
    for rows in bands(height, width):
        band = levels.band(samples.values[rows])
        color[rows] = _color_band(band, samples.kind, profile, levels.highest)
    return color


def thinned(samples: Samples, most: int) -> Samples:
    """Every n-th pixel, so that about `most` are left per side."""
    rows, columns = (max(1, length // most) for length in samples.values.shape[:2])
    white = _guessed_white(samples) if samples.white is None else samples.white
    return replace(samples, values=samples.values[::rows, ::columns], white=white)


def rgb_of_ycc(values: np.ndarray, codes: int) -> np.ndarray:
    """Y Cb Cr (H, W, C) as R G B of the same type, by the matrix of JFIF and sYCC."""
    result = values.copy()
    for rows in bands(*values.shape[:2]):
        light, blue, red = np.moveaxis(values[rows, :, :3].astype(np.float64), -1, 0)
        blue, red = blue - codes // 2, red - codes // 2
        green = light - 0.344136 * blue - 0.714136 * red
        rgb = np.stack([light + 1.402 * red, green, light + 1.772 * blue], axis=-1)
        result[rows, :, :3] = np.rint(rgb.clip(0, codes - 1))
    return result


class _Levels:
    """Bands as integers 0..highest, without alpha, in the type of the result."""

    def __init__(self, samples: Samples) -> None:
        self._samples, self._count = samples, CHANNELS[samples.kind]
        values, white = samples.values, samples.white
        few = values.dtype.kind in "bui" and white is not None and white <= 255
        self.dtype = np.uint8 if few else np.uint16
        self.highest = int(np.iinfo(self.dtype).max)
        self._white = _guessed_white(samples) if white is None else white

    def band(self, values: np.ndarray) -> np.ndarray:
        band = _scaled(values, self._white, self.highest).astype(self.dtype, copy=False)
        if self._samples.premultiplied and band.shape[-1] > self._count:
            band = _without_alpha(band, self._count, self.highest)
        band = band[..., : self._count]
        return self.highest - band if self._samples.inverted else band


def luma(rgb: np.ndarray) -> np.ndarray:
    """Luma (h, W) of uint8 or uint16 (h, W, 3), of the same type, rounded."""
    red, green, blue = (
        weight * rgb[..., channel].astype(np.uint32)
        for channel, weight in enumerate(LUMA_THOUSANDTHS)
    )
    return ((red + green + blue + 500) // 1000).astype(rgb.dtype)


def eight_bits(gray: np.ndarray) -> np.ndarray:
    """Gray or color, uint8 or uint16, as uint8 of the same shape, rounded."""
    if gray.dtype == np.uint8:
        return gray
    result = np.empty(gray.shape, np.uint8)
    for rows in bands(*gray.shape[:2]):
        result[rows] = (gray[rows].astype(np.uint32) + 128) // 257
    return result


def upright(gray: np.ndarray, orientation: int) -> np.ndarray:
    """Gray (H, W) or color (H, W, 3), turned upright from the EXIF orientation 1..8."""
    if orientation >= 5:
        gray = gray.swapaxes(0, 1)
    if orientation in (2, 3, 7, 8):
        gray = gray[:, ::-1] if orientation in (2, 3) else gray[::-1]
    if orientation in (3, 4):
        gray = gray[::-1]
    if orientation in (6, 7):
        gray = gray[:, ::-1]
    return np.ascontiguousarray(gray)


def _gray_band(band: np.ndarray, kind: Kind, profile: Profile | None, highest: int) -> np.ndarray:
    if profile is not None:
        color = profile(band)
        return color[..., 0] if kind == "gray" else luma(color)
    if kind == "lab":
        return _srgb_of_lightness(band[..., 0] / highest, highest)
    return band[..., 0] if kind == "gray" else luma(_color_band(band, kind, None, highest))


def _color_band(band: np.ndarray, kind: Kind, profile: Profile | None, highest: int) -> np.ndarray:
    if profile is not None:
        return profile(band)
    if kind == "gray":
        return np.repeat(band, 3, axis=-1)
    if kind == "cmyk":
        paper = highest - band.astype(np.int64)
        return ((paper[..., :3] * paper[..., 3:] + highest // 2) // highest).astype(band.dtype)
    return _srgb_of_lab(band, highest) if kind == "lab" else band


def _srgb_of_lab(band: np.ndarray, highest: int) -> np.ndarray:
    """CIE Lab under D50, with zero of a and b in the middle -> sRGB 0..highest."""
    unit = (highest + 1) // 256
    lightness = band[..., 0] * (100 / highest)
    a, b = ((band[..., channel].astype(np.float64) / unit - 128) for channel in (1, 2))
    middle = (lightness + 16) / 116
    roots = np.stack([middle + a / 500, middle, middle - b / 200], axis=-1)
    white = np.array([0.96422, 1, 0.82521])
    light = np.where(roots > 6 / 29, roots**3, (116 * roots - 16) * 27 / 24389) * white
    linear = (light @ _RGB_OF_XYZ_D50.T).clip(0, 1)
    return np.rint(highest * srgb_encoded(linear)).astype(band.dtype)


def _srgb_of_lightness(lightness: np.ndarray, highest: int) -> np.ndarray:
    """The sRGB gray 0..highest whose CIE lightness is 100 times this."""
    scaled = lightness * 100
    light = np.where(scaled > 8, ((scaled + 16) / 116) ** 3, scaled * 27 / 24389)
    return np.rint(highest * srgb_encoded(light))


def srgb_encoded(light: np.ndarray) -> np.ndarray:
    """The sRGB codes 0..1 of light 0..1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _scaled(band: np.ndarray, white: float, highest: int) -> np.ndarray:
    """Values 0..white as 0..highest, rounded; what is not a number is black."""
    if white == highest and band.dtype.kind == "u":
        return band if band.itemsize <= 2 else band.clip(0, highest)
    scaled = np.nan_to_num(band.astype(np.float64) * (highest / white), posinf=highest, neginf=0)
    return np.rint(scaled.clip(0, highest))


def _without_alpha(band: np.ndarray, count: int, highest: int) -> np.ndarray:
    alpha = band[..., count : count + 1].astype(np.float64)
    return np.rint((band[..., :count] * (highest / np.maximum(alpha, 1))).clip(0, highest)).astype(
        band.dtype
    )


def _guessed_white(samples: Samples) -> float:
    values = samples.values
    usual, largest = _largest(values, CHANNELS[samples.kind])
    for level in (1, 255, 65535):
        if usual <= 2 * level:
            return float(level)
    largest = largest if largest <= _HOT * usual else usual
    most = float(np.iinfo(values.dtype).max) if values.dtype.kind in "ui" else largest
    return most if largest >= most / 2 else largest


def _largest(values: Rows, channels: int) -> tuple[float, float]:
    """The largest value without the few that lie in the highest octaves, and the largest of all; of
    the first channels, as alpha may have a white of its own."""
    height, width = values.shape[:2]
    counts, tops = np.zeros(_OCTAVES, np.int64), np.zeros(_OCTAVES)
    for rows in bands(height, width):
        band = values[rows][..., :channels].reshape(-1)
        band = band[np.isfinite(band) & (band > 0)].astype(np.float64)
        octaves = (np.frexp(band)[1] + _OCTAVES // 2).clip(0, _OCTAVES - 1)
        counts += np.bincount(octaves, minlength=_OCTAVES)
        np.maximum.at(tops, octaves, band)
    few = _FEW * channels * height * width
    usual = np.flatnonzero(counts[::-1].cumsum()[::-1] > few)
    return (float(tops[: usual[-1] + 1].max()) if len(usual) else 0.0), float(tops.max())


def brightest(values: Rows) -> float:
    """The largest value."""
    return max(float(values[rows].max()) for rows in bands(*values.shape[:2]))
