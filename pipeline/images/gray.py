"""Numbers of any kind become gray, with numpy alone, in bands of rows.

Legend: H W rows and columns, C channels, h rows of one band. Gray is the Rec. 601 luma
0.299 R + 0.587 G + 0.114 B in sRGB, rounded: uint8 [0, 255] of masters with up to 8 bits a sample,
uint16 [0, 65535] of those with more. What has 8 or 16 bits and is gray stays as it is, bit by bit.

- Other whole numbers: value * 65535 / white, the white being that of the declared depth (4095,
  32767 where signed); below zero is black. A dark scan stays dark.
- Float and 32 bits, which declare no white: white is 1, 255 or 65535, the first that is at least
  half of the largest value (scans overshoot), or else the largest value itself.
- CMYK without a profile: R = (1 - C)(1 - K), and so on. CIE Lab: the gray of the same lightness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from pipeline.images.chroma import bands

Kind = Literal["gray", "rgb", "cmyk", "lab"]
_CHANNELS = {"gray": 1, "rgb": 3, "cmyk": 4, "lab": 3}

# A band uint8 or uint16 (h, W, C) -> the same in sRGB, (h, W, 3).
Profile = Callable[[np.ndarray], np.ndarray]


class Rows(Protocol):
    """An array (H, W, C), or what makes some of its rows on demand."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Samples:
    """Pixels as stored: (H, W, C) of any type, more channels than the kind has are dropped.

    white: the value of white; None where only the values tell. inverted: zero is white.
    premultiplied: the first channel beyond the kind's is alpha, and is multiplied in.
    """

    values: Rows
    kind: Kind
    white: float | None
    inverted: bool = False
    premultiplied: bool = False


def gray_of(samples: Samples, profile: Profile | None = None) -> np.ndarray:
    """Gray uint8 or uint16 (H, W), by the rules above. profile: as in color_profiles."""
    values, count = samples.values, _CHANNELS[samples.kind]
    few = values.dtype.kind in "bu" and samples.white is not None and samples.white <= 255
    dtype = np.uint8 if few else np.uint16
    highest = int(np.iinfo(dtype).max)
    white = _guessed_white(values) if samples.white is None else samples.white
    height, width = values.shape[:2]
    gray = np.empty((height, width), dtype)
    for rows in bands(height, width):
        band = _scaled(values[rows], white, highest).astype(dtype, copy=False)
        if samples.premultiplied:
            band = _without_alpha(band, count, highest)
        band = band[..., :count]
        if samples.inverted:
            band = highest - band
        gray[rows] = _gray_band(band, samples.kind, profile, highest)
    return gray


def some_color(samples: Samples, most: int) -> np.ndarray:
    """Every so many pixels of a kind "rgb", about `most` a side, as uint8 (h, w, 3)."""
    rows, columns = (max(1, length // most) for length in samples.values.shape[:2])
    values = samples.values[::rows, ::columns, :3]
    white = _guessed_white(values) if samples.white is None else samples.white
    return np.rint(_scaled(values, white, 255)).astype(np.uint8)


def luma(rgb: np.ndarray) -> np.ndarray:
    """Luma (h, W) of uint8 or uint16 (h, W, 3), of the same type, rounded."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(rgb.dtype)


def eight_bits(gray: np.ndarray) -> np.ndarray:
    """Gray uint8 or uint16 as uint8 of the same shape, rounded."""
    if gray.dtype == np.uint8:
        return gray
    result = np.empty(gray.shape, np.uint8)
    for rows in bands(*gray.shape):
        result[rows] = (gray[rows].astype(np.uint32) + 128) // 257
    return result


def upright(gray: np.ndarray, orientation: int) -> np.ndarray:
    """Gray (H, W) as the EXIF orientation 1..8 wants it."""
    if orientation >= 5:
        gray = gray.T
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
    if kind == "rgb":
        return luma(band)
    if kind == "cmyk":
        paper = highest - band.astype(np.int64)
        return luma(
            ((paper[..., :3] * paper[..., 3:] + highest // 2) // highest).astype(band.dtype)
        )
    if kind == "lab":
        return _srgb_of_lightness(band[..., 0] / highest, highest)
    return band[..., 0]


def _srgb_of_lightness(lightness: np.ndarray, highest: int) -> np.ndarray:
    """The sRGB gray 0..highest whose CIE lightness is 100 times this."""
    scaled = lightness * 100
    light = np.where(scaled > 8, ((scaled + 16) / 116) ** 3, scaled * 27 / 24389)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(highest * encoded)


def _scaled(band: np.ndarray, white: float, highest: int) -> np.ndarray:
    """Values 0..white as 0..highest, rounded; what is no number is black."""
    if white == highest and band.dtype.kind == "u":
        return band if band.itemsize <= 2 else band.clip(0, highest)
    scaled = np.nan_to_num(band.astype(np.float64) * (highest / white), posinf=highest, neginf=0)
    return np.rint(scaled.clip(0, highest))


def _without_alpha(band: np.ndarray, count: int, highest: int) -> np.ndarray:
    alpha = band[..., count : count + 1].astype(np.float64)
    return np.rint((band[..., :count] * (highest / np.maximum(alpha, 1))).clip(0, highest)).astype(
        band.dtype
    )


def _guessed_white(values: Rows) -> float:
    largest = 0.0
    for rows in bands(*values.shape[:2]):
        band = values[rows]
        largest = max(largest, float(np.max(band, initial=0, where=np.isfinite(band))))
    return next((float(level) for level in (1, 255, 65535) if largest <= 2 * level), largest)
