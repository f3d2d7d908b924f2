"""PIC as a colorizer, with the interface and the results of model.colorizer.Colorizer.

Legend: B batch, S side of the gray photograph and of the result, R side of the drawn chroma.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.colorized import Colorized, check_batch
from model.lab import lab_from_rgb, rgb_from_lab
from model.pic.network import CHROMA_ZERO, Pic
from model.pic.sampling import sample_pixels
from model.ranking import excess_bits


class PicColorizer:
    """Gray photographs -> color with the likelihood of their chroma.

    PIC has no upsamplers, so their bits are NaN. The result for a photograph depends on its pixels,
    its seed and the weights, and not on the other photographs of its batch.
    """

    def __init__(self, pic: Pic, batch_size: int = 8) -> None:
        """Raises ValueError for a batch size below 1."""
        if batch_size < 1:
            raise ValueError(f"batch size must be at least 1, not {batch_size}")
        self.pic, self.batch_size = pic, batch_size
        self.low_resolution = pic.config.chroma_resolution
        self.high_resolution = pic.config.resolution

    @property
    def knows(self) -> frozenset[str]:
        """Which known colors the model can take into account: none."""
        return frozenset()

    def colorize(
        self,
        gray_low: NDArray[np.uint8],
        gray_high: NDArray[np.uint8],
        seeds: Sequence[int],
        temperature: float = 1.0,
    ) -> Colorized:
        """Colorize any number of photographs.

        gray_low: uint8 (B, R, R), not used. gray_high: uint8 (B, S, S). seeds: one per photograph,
        0..2^63 - 1. temperature: at least 0; it divides the logits that values are drawn from.

        Raises:
            ValueError: a wrong shape, temperature or number of seeds.
        """
        check_batch(gray_low, gray_high, seeds)
        count, step = len(gray_high), self.batch_size
        pictures, scores = [], []
        for start in range(0, count, step):
            places = slice(start, start + step)
            chroma, *found = self._draw(gray_high[places], seeds[places], temperature)
            pairs = zip(gray_high[places], chroma, strict=True)
            pictures += [put_chroma_on(gray, each) for gray, each in pairs]
            scores.append(found)
        log_likelihood, entropy, excess = map(np.concatenate, zip(*scores, strict=True))
        bits = -log_likelihood / (np.log(2) * self.low_resolution**2)
        none = np.full(count, np.nan)
        facts = log_likelihood, bits, none, none, entropy, excess, none, none
        return Colorized(np.stack(pictures), *facts)

    @torch.inference_mode()
    def _draw(
        self, gray_BSS: NDArray[np.uint8], seeds: Sequence[int], temperature: float
    ) -> tuple[NDArray[np.generic], ...]:
        """Chroma (B, R, R, 2), log-likelihood (B,), entropy (B, R, R) and excess bits (B,)."""
        gray = torch.from_numpy(gray_BSS.astype(np.int64)).to(self.pic.encoder.lightness.device)
        # One at a time: the order of sums in convolutions may depend on the batch size.
        embedding = torch.cat([self.pic.encode(one[None]) for one in gray])
        sample = sample_pixels(self.pic.pixelcnn, seeds, embedding, temperature)
        chroma = (sample.values_BHWC - CHROMA_ZERO).double()
        log_likelihood = sample.log_prob_BHW.sum(dim=(1, 2))
        excess = excess_bits(sample.log_prob_BHW, sample.expected_BHW)
        parts = chroma, log_likelihood, sample.entropy_BHW.float(), excess
        return tuple(part.cpu().numpy() for part in parts)


def put_chroma_on(gray_SS: NDArray[np.uint8], chroma_RR2: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Combine lightness and chroma, enlarged bilinearly, to RGB: uint8 (S, S, 3).

    gray_SS: uint8. chroma_RR2: a* and b*.
    """
    planes = torch.from_numpy(chroma_RR2).permute(2, 0, 1)[None]
    large: Tensor = functional.interpolate(planes, gray_SS.shape, mode="bilinear")[0]
    lightness = lab_from_rgb(gray_SS[..., None].repeat(3, -1))[..., :1]
    lab = np.concatenate((lightness, large.permute(1, 2, 0).numpy()), axis=-1)
    return np.rint(rgb_from_lab(lab)).astype(np.uint8)
