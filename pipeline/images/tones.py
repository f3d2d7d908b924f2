"""Whether a picture is gray, toned like an old print, or in color.

Measured on 106 scans of black-and-white photographs, many of them toned, and 387 color photographs:
scans lie at 6.4 or less beyond their tone, 96 % of the color photographs above 8.
"""

from typing import Literal

import numpy as np

from pipeline.images.chroma import LUMA

Tone = Literal["gray", "toned", "color"]
SIDE = 64  # of the square that is looked at
_LEAST_TONE = 2.0  # mean distance from gray, in codes
_LEAST_COLOR = 8.0  # beyond the tone, in codes


def tone_of(rgb_SS3: np.ndarray) -> Tone:
    """What a picture uint8 (S, S, 3) is: toned where its colors follow from its brightness."""
    if color_beyond_tone(rgb_SS3) >= _LEAST_COLOR:
        return "color"
    pixels = rgb_SS3.reshape(-1, 3).astype(np.float64)
    differences = pixels - (pixels @ LUMA)[:, None]
    distance = np.sqrt(np.square(differences).sum(-1)).mean()
    return "toned" if distance >= _LEAST_TONE else "gray"


def color_beyond_tone(rgb_SS3: np.ndarray) -> float:
    """How far colors lie from a curve over brightness, 0..255: 0 for gray and for evenly toned."""
    step = max(1, len(rgb_SS3) // 64)
    pixels = rgb_SS3[::step, ::step].reshape(-1, 3) / 255
    luma = pixels @ LUMA
    powers = np.stack([np.ones_like(luma), luma, luma**2], axis=-1)
    differences = pixels[:, [0, 2]] - luma[:, None]
    curve, *_ = np.linalg.lstsq(powers, differences, rcond=None)
    return 255 * float(np.sqrt(np.square(differences - powers @ curve).sum(-1).mean()))
