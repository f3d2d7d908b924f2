"""CIE Lab, and the difference that people see between two colors.

Numbers are float64. RGB is sRGB (IEC 61966-2-1) in 0..255. The white point is that of sRGB itself
(D65), so that gray has exactly a* = b* = 0.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_XYZ_FROM_LIGHT = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_WHITE = _XYZ_FROM_LIGHT.sum(axis=1)


def lab_from_rgb(rgb: ArrayLike) -> Floats:
    """sRGB 0..255 (..., 3) -> L* (0..100), a* and b* (..., 3)."""
    encoded = np.asarray(rgb, np.float64) / 255
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    relative = light @ (_XYZ_FROM_LIGHT / _WHITE[:, None]).T
    x, y, z = np.moveaxis(
        np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116),
        -1,
        0,
    )
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def rgb_from_lab(lab: ArrayLike) -> Floats:
    """L*, a*, b* (..., 3) -> sRGB 0..255 (..., 3); colors outside of sRGB are clipped."""
    lightness, a, b = np.moveaxis(np.asarray(lab, np.float64), -1, 0)
    y = (lightness + 16) / 116
    x, z = y + a / 500, y - b / 200
    each = np.stack((x, y, z), axis=-1)
    relative = np.where(each**3 > 216 / 24389, each**3, (116 * each - 16) * 27 / 24389)
    light = (relative * _WHITE) @ np.linalg.inv(_XYZ_FROM_LIGHT).T
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def ciede2000(first: ArrayLike, second: ArrayLike) -> Floats:
    """CIEDE2000 (CIE 142:2001) between two arrays of Lab (..., 3) -> (...); 1 is just noticeable.

    In the notation of Sharma, Wu and Dalal (2005), with kL = kC = kH = 1.
    """
    light1, a1, b1 = np.moveaxis(np.asarray(first, np.float64), -1, 0)
    light2, a2, b2 = np.moveaxis(np.asarray(second, np.float64), -1, 0)
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(c7 / (c7 + 25.0**7)))
    c1, c2 = np.hypot((1 + g) * a1, b1), np.hypot((1 + g) * a2, b2)
    h1 = np.arctan2(b1, (1 + g) * a1) % (2 * np.pi)
    h2 = np.arctan2(b2, (1 + g) * a2) % (2 * np.pi)

    turn = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi  # the short way around
    gray = c1 * c2 == 0
    turn = np.where(gray, 0, turn)
    d_l, d_c, d_h = light2 - light1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(turn / 2)

    mean_l, mean_c = (light1 + light2) / 2, (c1 + c2) / 2
    mean_h = np.where(gray, h1 + h2, (h1 + h2) / 2 + np.where(abs(h1 - h2) > np.pi, np.pi, 0))
    t = (
        1
        - 0.17 * np.cos(mean_h - np.radians(30))
        + 0.24 * np.cos(2 * mean_h)
        + 0.32 * np.cos(3 * mean_h + np.radians(6))
        - 0.20 * np.cos(4 * mean_h - np.radians(63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    blue = np.exp(-(((np.degrees(mean_h) % 360 - 275) / 25) ** 2))
    r_t = -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)) * np.sin(np.radians(60) * blue)
    l, c, h = d_l / s_l, d_c / s_c, d_h / s_h  # noqa: E741
    return np.sqrt(np.maximum(0, l**2 + c**2 + h**2 + r_t * c * h))
