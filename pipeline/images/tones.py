"""Whether a picture is gray, toned like an old print, or in color.

Measured on 106 scans of black-and-white photographs, many of them toned, and 387 color photographs:
scans lie at 6.4 or less beyond their tone, 96 % of the color photographs above 8.
"""

from typing import Literal

import numpy as np

from pipeline.images.chroma import LUMA

# With color: a gray or toned photograph with a target, a stamp or a mount (see regions).
Tone = Literal["gray", "toned", "color", "gray_with_color", "toned_with_color"]
LOOK = 256  # side of the square that is examined, in means of four by four pixels
_LEAST_TONE = 2.0  # mean distance from gray, in codes
_LEAST_COLOR = 8.0  # mean distance from the tone, in codes


def tone_of(rgb_SS3: np.ndarray) -> Tone:
    """Gray, toned or in color? A picture uint8 (S, S, 3) is toned if its colors follow from
    brightness."""
    if color_beyond_tone(rgb_SS3) >= _LEAST_COLOR:
        return "color"
    pixels = rgb_SS3.reshape(-1, 3).astype(np.float64)
    differences = pixels - (pixels @ LUMA)[:, None]
    distance = np.sqrt(np.square(differences).sum(-1)).mean()
    return "toned" if distance >= _LEAST_TONE else "gray"


def color_beyond_tone(rgb_SS3: np.ndarray) -> float:
    """How far colors lie from a curve over brightness, 0..255: 0 for gray and evenly toned
    pictures."""
    step = max(1, len(rgb_SS3) // 64)
    powers, differences = _tone_terms(rgb_SS3[::step, ::step])
    curve, *_ = np.linalg.lstsq(powers, differences, rcond=None)
    return 255 * float(np.sqrt(np.square(differences - powers @ curve).sum(-1).mean()))


def distances(rgb_SS3: np.ndarray, of_HW3: np.ndarray) -> np.ndarray:
    """How far each cell lies from the tone of most of another picture, 0..255, float64 (S, S).

    The curve minimizes distances, not their squares, so that a stamp does not bend it.
    """
    powers, differences = _tone_terms(of_HW3)
    weights = np.ones(len(powers))
    for _ in range(8):
        roots = np.sqrt(weights)[:, None]
        curve, *_ = np.linalg.lstsq(powers * roots, differences * roots, rcond=None)
        away = np.sqrt(np.square(differences - powers @ curve).sum(-1))
        weights = 1 / np.maximum(away, 1 / 255)
    powers, differences = _tone_terms(rgb_SS3)
    away = np.sqrt(np.square(differences - powers @ curve).sum(-1))
    return 255 * away.reshape(rgb_SS3.shape[:2])


def _tone_terms(rgb_HW3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Powers of the luma, (H W, 3), and red's and blue's differences to it, (H W, 2)."""
    pixels = rgb_HW3.reshape(-1, 3) / 255
    luma = pixels @ LUMA
    powers = np.stack([np.ones_like(luma), luma, luma**2], axis=-1)
    return powers, pixels[:, [0, 2]] - luma[:, None]
