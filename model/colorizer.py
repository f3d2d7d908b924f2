"""The three stages as one: a gray photograph in, color and likelihoods out.

Legend: B batch, R low resolution (of core and color upsampler), S high resolution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.color import (
    COARSE_STEP,
    NUM_BINS,
    bins_from_coarse,
    coarse_from_bins,
    coarse_from_rgb,
    rgb_from_bins,
    saturate,
)
from model.colorized import Colorized, check_batch
from model.core import ColTranCore
from model.likelihood import BITS_PER_NAT
from model.ranking import beside_parallel_head, excess_bits
from model.sampling.cached import encode, sample_encoded
from model.sampling.draw import draw_uniforms
from model.sampling.inference import most_likely
from model.sampling.runners import RowRunners
from model.upsamplers import ChannelUpsampler, ColorUpsampler, SpatialUpsampler
from model.weights import STAGES, WeightsError, load_stage, stage_path

MAX_SATURATION = 4
PRECISIONS, UPSAMPLERS = ("float32", "bfloat16"), ("spatial", "guided")


@dataclass(frozen=True)
class Method:
    """How ColTran's stages are used.

    precision: of weights and activations; sums inside of products, softmax and likelihoods are
    float32 or more in both. upsampler: spatial, or guided: the color upsampler's small picture is
    the result, for whoever enlarges it along the photograph's contours. draft: instead of all
    stages, the core's parallel head in one pass: the mean of its colors, weighted as their
    distribution at the temperature (the annealed mean of Zhang et al., ECCV 2016, equation 5). Its
    likelihood is what the core gives to that picture. Where a pixel has a hint, that is its color,
    at any saturation. saturation: how many times as far from gray
    as the model has them colors are shown; a mean of what may be is paler than any of it.

    Raises:
        ValueError: a setting that does not exist.
    """

    precision: str = "float32"
    upsampler: str = "spatial"
    draft: bool = False
    saturation: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in (("precision", PRECISIONS), ("upsampler", UPSAMPLERS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if not 0 <= self.saturation <= MAX_SATURATION:
            raise ValueError(f"saturation must be 0 to {MAX_SATURATION}, not {self.saturation}")


PUBLISHED_METHOD = Method()


class Colorizer:
    """Gray photographs in two sizes -> color at the high resolution, with scores.

    The result for a photograph depends on its pixels, its seed and the weights, and not on its
    company: the core always draws `batch_size` pictures at once (the last photograph is repeated
    where there are fewer), and all else takes one photograph at a time.
    """

    def __init__(
        self,
        core: ColTranCore,
        color: ColorUpsampler,
        spatial: SpatialUpsampler,
        batch_size: int = 8,
        method: Method = PUBLISHED_METHOD,
    ) -> None:
        """Raises ValueError where the stages' resolutions do not fit each other."""
        self.core, self.color, self.spatial, self.batch_size = core, color, spatial, batch_size
        self.method, self._runners = method, RowRunners(core)
        self.low_resolution = core.config.resolution
        self.high_resolution = spatial.config.resolution
        if color.config.resolution != self.low_resolution:
            pair = f"{color.config.resolution} and {self.low_resolution}"
            raise ValueError(f"color upsampler and core must have one resolution, not {pair}")
        if self.high_resolution % self.low_resolution:
            pair = f"{self.high_resolution} is not a multiple of {self.low_resolution}"
            raise ValueError(f"the spatial upsampler must enlarge by a whole number, but {pair}")
        if batch_size < 1:
            raise ValueError(f"batch size must be at least 1, not {batch_size}")

    @property
    def knows(self) -> frozenset[str]:
        """What of a photograph's color the core can be told: "hints", "palette"."""
        config = self.core.config
        told = ("hints", config.hints), ("palette", config.palette)
        return frozenset(name for name, able in told if able)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: torch.device | str = "cpu",
        batch_size: int = 8,
        method: Method = PUBLISHED_METHOD,
    ) -> Self:
        """The three stages of a folder of weights.

        Raises:
            WeightsError: a file is missing, unreadable, of another stage, or they do not fit.
        """
        stages = [load_stage(stage_path(folder, name), device) for name in STAGES]
        core, color, spatial = stages
        if not (
            isinstance(core, ColTranCore)
            and isinstance(color, ColorUpsampler)
            and isinstance(spatial, SpatialUpsampler)
        ):
            found = ", ".join(type(stage).__name__ for stage in stages)
            raise WeightsError(f"{folder} must hold the stages {', '.join(STAGES)}, not {found}")
        dtype = getattr(torch, method.precision)
        for stage in (core, color, spatial):
            stage.to(dtype)
        try:
            return cls(core, color, spatial, batch_size, method)
        except ValueError as error:
            raise WeightsError(f"{folder}: {error}") from error

    def colorize(
        self,
        gray_low: NDArray[np.uint8],
        gray_high: NDArray[np.uint8],
        seeds: Sequence[int],
        temperature: float = 1.0,
        hints: NDArray[np.int64] | None = None,
        palette: NDArray[np.float32] | None = None,
    ) -> Colorized:
        """Colorize any number of photographs.

        gray_low: uint8 (B, R, R); gray_high: uint8 (B, S, S), the same photographs; seeds: one a
        photograph, 0..2^63 - 1; temperature as in `sample_core`. hints (B, R, R) and palette
        (B, 512): what is known of their colors, as in `ColTranCore.encode`.

        Raises:
            ValueError: shapes or seeds that do not fit, or hints or a palette that the weights
                cannot use.
        """
        check_batch(gray_low, gray_high, seeds)
        count, step = len(gray_low), self.batch_size
        parts = []
        for start in range(0, count, step):
            places = slice(start, start + step)
            low, high = (
                torch.from_numpy(gray[places].astype(np.int64)) for gray in (gray_low, gray_high)
            )
            known = [
                None if part is None else torch.from_numpy(part[places])
                for part in (hints, palette)
            ]
            parts.append(self._batch(low, high, known, seeds[places], temperature))
        rgb, log_likelihood, *others = (
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
        bits_per_pixel = -log_likelihood * BITS_PER_NAT / self.low_resolution**2
        return Colorized(rgb, log_likelihood, bits_per_pixel, *others)

    @torch.inference_mode()
    def _batch(
        self,
        low: Tensor,
        high: Tensor,
        known: Sequence[Tensor | None],
        seeds: Sequence[int],
        temperature: float,
    ) -> tuple[NDArray[np.generic], ...]:
        device, count = self.core.head.weight.device, len(low)
        low, high = low.to(device), high.to(device)
        seen = high if self.core.config.trunk != "none" else None
        hints, palette = (None if part is None else part.to(device) for part in known)
        unknown = torch.full((count,), torch.nan, dtype=torch.float64)
        context = encode(self.core, low, seen, hints, palette)
        if self.method.draft:
            rgb, entropy = expected_color(self.core, context, low, temperature)
            rgb = with_hints(saturate(rgb, self.method.saturation), hints)
            log_likelihood = log_likelihood_of(self.core, context, low, rgb)
            tensors = (rgb, log_likelihood, unknown, unknown, entropy, *[unknown] * 3)
            return tuple(each.cpu().numpy() for each in tensors)
        uniforms = draw_uniforms(low, seeds, temperature)
        sample = sample_encoded(
            self._runners, low, context, uniforms, temperature, lanes=self.batch_size
        )
        log_likelihood = sample.log_prob_BHW.sum(dim=(1, 2))
        rgb, color_bits = upsample(self.color, coarse_from_bins(sample.bins_BHW), low)
        spatial_bits = unknown
        if self.method.upsampler == "spatial":
            factor = self.high_resolution // self.low_resolution
            blurry = rgb.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            rgb, spatial_bits = upsample(self.spatial, blurry, high)
        rgb = saturate(rgb.to(torch.uint8), self.method.saturation)
        excess = excess_bits(sample.log_prob_BHW, sample.expected_BHW)
        beside = beside_parallel_head(self.core, context, low, sample.bins_BHW)
        scores = (color_bits, spatial_bits, sample.entropy_BHW, excess, *beside)
        return tuple(tensor.cpu().numpy() for tensor in (rgb, log_likelihood, *scores))


def expected_color(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The parallel head's mean color, uint8 (B, H, W, 3), and entropy at temperature 1, in bits.

    context_BHWD: of `encode`. temperature 0 takes its most likely bin.
    """
    pairs = zip(context_BHWD.split(1), gray_BHW.split(1), strict=True)
    logits = torch.cat([core.parallel_from(context, gray) for context, gray in pairs])
    entropy = torch.special.entr(torch.softmax(logits, dim=-1)).sum(dim=-1) / math.log(2)
    centers = rgb_from_bins(torch.arange(NUM_BINS, device=logits.device)) + COARSE_STEP // 2
    if temperature == 0:
        return centers[logits.argmax(dim=-1)].to(torch.uint8), entropy
    weights = torch.softmax(logits / temperature, dim=-1)
    return (weights @ centers.float()).round().to(torch.uint8), entropy


def with_hints(rgb_BHW3: Tensor, hints_BHW: Tensor | None) -> Tensor:
    """Pictures, uint8, whose hinted pixels have the middle of the hint's bin."""
    if hints_BHW is None:
        return rgb_BHW3
    hinted = (hints_BHW < NUM_BINS)[..., None]
    colors = rgb_from_bins(hints_BHW.clamp(max=NUM_BINS - 1)) + COARSE_STEP // 2
    return torch.where(hinted, colors.to(torch.uint8), rgb_BHW3)


def log_likelihood_of(
    core: ColTranCore, context_BHWD: Tensor, gray_BHW: Tensor, rgb_BHW3: Tensor
) -> Tensor:
    """Nats, float64 (B,), that the core gives to pictures, uint8 (B, H, W, 3): teacher-forced."""
    bins_BHW = bins_from_coarse(coarse_from_rgb(rgb_BHW3))
    totals = []
    for bins, context, gray in zip(
        bins_BHW.split(1), context_BHWD.split(1), gray_BHW.split(1), strict=True
    ):
        log_prob = torch.log_softmax(core.decode(bins, context, gray).double(), dim=-1)
        totals.append(log_prob.gather(-1, bins[..., None]).sum())
    return torch.stack(totals)


def upsample(
    upsampler: ChannelUpsampler, values_BHW3: Tensor, gray_BHW: Tensor
) -> tuple[Tensor, Tensor]:
    """`most_likely` of each photograph, int64 (B, H, W, 3) and float64 (B,).

    One after the other: what one takes in memory is much, and company does not matter then.
    """
    pairs = zip(values_BHW3, gray_BHW, strict=True)
    values, bits = zip(*(most_likely(upsampler, *pair) for pair in pairs), strict=True)
    return torch.stack(values), torch.stack(bits)
