"""Tones as files state them beside profiles: powers, tables and transfer functions by number.

A curve maps codes to linear light; primaries define red, green and blue. A curve that differs from
sRGB only in the darkest tones, such as a power of 2.2, counts as sRGB, because programs use it for
sRGB.

Legend: h W rows and columns of a band, C channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.images.gray import Kind, Profile, srgb_encoded

# Codes 0..1 -> light 0..1, of any shape.
Light = Callable[[np.ndarray], np.ndarray]
# x and y of white, red, green and blue, in this order.
Primaries = tuple[float, ...]

_LIKE_SRGB = 4 / 255  # RMS distance: powers of 2.1 to 2.26 are within it; 2.2 is at 3 / 255
_SAME_PRIMARIES = 0.01
_SRGB: Primaries = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
# Numbers of ITU-T H.273, without those of video (1, 6, 14), which displays show much as sRGB.
_POWERS = {4: 2.2, 5: 2.8, 8: 1.0}
_BEYOND = {16: "PQ", 18: "HLG"}  # light brighter than white, for which sRGB has no codes
_PRIMARIES: dict[int, Primaries] = {
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}


@dataclass(frozen=True)
class Curve:
    """How codes become light. lights: one curve for all channels, or one each; empty for sRGB's
    curve.

    note: for people, why the curve is not applied. above_profile: it overrides a profile.
    """

    lights: tuple[Light, ...] = ()
    primaries: Primaries | None = None
    note: str = ""
    above_profile: bool = False


def power_curve(exponent: float, primaries: Primaries | None = None) -> Curve | None:
    """The curve of a power of codes; None if the exponent makes no sense."""
    return Curve((lambda codes: codes**exponent,), primaries) if 0.1 <= exponent <= 10 else None


def table_curve(tables: Sequence[np.ndarray], inverted: bool) -> Curve | None:
    """The curve of tables of light 0..65535 by code, one for all channels or one each; None if a
    table does not rise.

    inverted: code zero is white.
    """
    lights = [table[::-1] / 65535 if inverted else table / 65535 for table in tables]
    if any((np.diff(light) < 0).any() or light[-1] < 0.5 for light in lights):
        return None
    return Curve(tuple(map(_between, lights)))


def numbered_curve(primaries: int, transfer: int, full_range: bool = True) -> Curve:
    """A curve by the numbers of ITU-T H.273, as PNG and AVIF hold them."""
    if transfer in _BEYOND:
        return Curve(note=f"its tones are {_BEYOND[transfer]}'s, and taken as those of sRGB")
    lights: tuple[Light, ...] = ()
    if transfer in _POWERS:
        exponent = _POWERS[transfer]
        lights = (lambda codes: codes**exponent,)
    elif transfer in (9, 10):
        decades = 2.0 if transfer == 9 else 2.5
        lights = (lambda codes: np.where(codes > 0, 10 ** (decades * (codes - 1)), 0),)
    elif transfer == 17:
        lights = (lambda codes: (codes**2.6 * (52.37 / 48)).clip(0, 1),)
    if not full_range:
        of_full = lights[0] if lights else srgb_decoded
        lights = (lambda codes: of_full(((codes * 255 - 16) / 219).clip(0, 1)),)
    return Curve(lights, _PRIMARIES.get(primaries))


def curve_profile(curve: Curve, kind: Kind) -> Profile | None:
    """A function that converts pixels of this kind to sRGB; None if that would change next to
    nothing."""
    if kind not in ("gray", "rgb"):
        return None
    lights = curve.lights
    if all(_is_like_srgb(light) for light in lights):
        lights = ()
    matrix = None
    if kind == "rgb" and curve.primaries is not None:
        matrix = _to_srgb(curve.primaries)
    if not lights and matrix is None:
        return None
    return _profile(lights or (srgb_decoded,), matrix, 1 if kind == "gray" else 3)


def srgb_decoded(codes: np.ndarray) -> np.ndarray:
    """The light 0..1 of sRGB codes 0..1."""
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def _profile(lights: Sequence[Light], matrix: np.ndarray | None, channels: int) -> Profile:
    """What converts bands to sRGB: each channel by its curve, then by the matrix of primaries."""
    if channels == 1:
        lights = lights[:1]
    tables: dict[type, list[np.ndarray]] = {}
    for dtype in (np.uint8, np.uint16):
        codes = np.linspace(0, 1, np.iinfo(dtype).max + 1)
        tables[dtype] = [light(codes) for light in lights]

    def encoded(light: np.ndarray, dtype: type) -> np.ndarray:
        highest = np.iinfo(dtype).max
        return np.rint(highest * srgb_encoded(light.clip(0, 1))).astype(dtype)

    if matrix is None:  # code by code
        shown = {each: [encoded(table, each) for table in tables[each]] for each in tables}
        return lambda band: _looked_up(band, shown[band.dtype.type], channels)
    to_srgb = matrix
    return lambda band: encoded(
        _looked_up(band, tables[band.dtype.type], channels) @ to_srgb.T, band.dtype.type
    )


def _looked_up(band: np.ndarray, tables: Sequence[np.ndarray], channels: int) -> np.ndarray:
    """Codes (h, W, C) -> (h, W, 3), by one table for all channels or one each."""
    every = [min(place, channels - 1) for place in range(3)]
    return np.stack([tables[min(each, len(tables) - 1)][band[..., each]] for each in every], -1)


def _between(light: np.ndarray) -> Light:
    """A curve through these points, at equal distances."""
    places = np.linspace(0, 1, len(light))
    return lambda codes: np.interp(codes, places, light)


def _is_like_srgb(light: Light) -> bool:
    codes = np.linspace(0, 1, 256)
    away = srgb_encoded(light(codes).clip(0, 1)) - codes
    return bool(np.sqrt(np.square(away).mean()) <= _LIKE_SRGB)


def _to_srgb(primaries: Primaries) -> np.ndarray | None:
    """The matrix from light in these primaries to light in sRGB's, white to white; None if they are
    sRGB's own or unusable."""
    if len(primaries) != 8 or np.abs(np.subtract(primaries, _SRGB)).max() <= _SAME_PRIMARIES:
        return None
    try:
        with np.errstate(all="raise"):
            matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(primaries)
    except (np.linalg.LinAlgError, ArithmeticError):
        return None
    return matrix if np.abs(matrix).max() < 10 else None


def _to_xyz(primaries: Primaries) -> np.ndarray:
    """The matrix from light to CIE XYZ under the white of sRGB, with Bradford adaptation."""
    x, y = np.array(primaries).reshape(4, 2).T
    white, *colors = np.stack([x / y, np.ones(4), (1 - x - y) / y], axis=-1)
    matrix = np.stack(colors, axis=-1)
    matrix = matrix * np.linalg.solve(matrix, white)
    paper = np.array([0.95047, 1, 1.08883])
    gains = (_BRADFORD @ paper) / (_BRADFORD @ white)
    adapted: np.ndarray = np.linalg.inv(_BRADFORD) @ (gains[:, None] * _BRADFORD) @ matrix
    return adapted
