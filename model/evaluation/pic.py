"""Scores of PIC on color photographs, like those of ColTran in model.evaluation.scores.

Legend: N photographs, S side of the gray photograph, R side of the chroma, 8 x 8 blocks.
"""

from typing import NamedTuple

import numpy as np
import torch

from model.color import gray_from_rgb
from model.evaluation.scores import Floats, Pixels, block_means
from model.lab import lab_from_rgb
from model.pic.colorizer import put_chroma_on
from model.pic.mixture import log_prob
from model.pic.network import CHROMA, CHROMA_ZERO, Pic, bits_per_pixel, chroma_from_rgb
from model.scaling import scale_by_area


class PicScores(NamedTuple):
    """Scores of each photograph.

    pic_bits, parallel_bits: bits per pixel (N,) that PIC and its parallel head assign to true a*
    and b* together (uniform: 16). true_chroma, expected_chroma: (N, 8, 8, 2), means of a* and b*
    over blocks, of the truth and of the parallel head's expected color. expected_rgb: uint8 (N, R,
    R, 3), that color.
    """

    pic_bits: Floats
    parallel_bits: Floats
    true_chroma: Floats
    expected_chroma: Floats
    expected_rgb: Pixels


@torch.inference_mode()
def score(pic: Pic, rgb_NSS3: Pixels) -> PicScores:
    """Teacher-forced scores of photographs, uint8 (N, S, S, 3), which are one batch."""
    rgb = torch.from_numpy(rgb_NSS3).to(pic.encoder.lightness.device)
    chroma = chroma_from_rgb(rgb, pic.config.factor)
    embedding = pic.encode(gray_from_rgb(rgb))
    mixture = pic.parallel_mixture(embedding)
    # The mean of b* in a component is that at the component's mean of a*, on which it depends.
    weights = torch.softmax(mixture.logits.double(), dim=-1)
    a, _ = mixture.component(0, mixture.means.new_zeros((*mixture.logits.shape[:-1], 0)))
    link = torch.tanh(mixture.coefficients[..., 0, :])
    b = mixture.means[..., 1, :] + link * a
    scaled_means = torch.stack([(weights * each).sum(dim=-1) for each in (a, b)], dim=-1)
    expected = ((scaled_means + 1) * 127.5 - CHROMA_ZERO).clamp(-128, 127).cpu().numpy()
    small = scale_by_area(torch.from_numpy(rgb_NSS3), pic.config.chroma_resolution)
    gray = gray_from_rgb(small).numpy().astype(np.uint8)
    assert expected.shape[-1] == CHROMA
    return PicScores(
        bits_per_pixel(pic.pixelcnn.log_likelihood(chroma, embedding)).cpu().numpy(),
        bits_per_pixel(log_prob(mixture, chroma)).cpu().numpy(),
        block_means(lab_from_rgb(small.numpy())[..., 1:]),
        block_means(expected),
        np.stack([put_chroma_on(*pair) for pair in zip(gray, expected, strict=True)]),
    )
