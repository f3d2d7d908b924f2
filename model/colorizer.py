"""ColTran's three stages in a row: gray photographs in, color pictures and their scores out.

Legend: B batch, R low resolution (of core and color upsampler), S high resolution, V = 512 bins.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.color import coarse_from_bins, saturate
from model.colorized import Colorized, Pictures, check_batch, unknown_score
from model.core import ColTranCore
from model.draft import expected_color, log_likelihood_of, with_hints
from model.encoder import Extras
from model.likelihood import BITS_PER_NAT
from model.method import PUBLISHED_METHOD, Method
from model.ranking import compare_with_parallel_head, excess_bits
from model.sampling.cached import encode, sample_encoded
from model.sampling.draw import draw_uniforms
from model.sampling.inference import upsample
from model.sampling.runners import RowRunners
from model.upsamplers import ColorUpsampler, SpatialUpsampler
from model.weights import STAGES, WeightsError, load_stage, stage_path


class Batch(NamedTuple):
    """Photographs that are colorized together.

    low_BRR, high_BSS: integers [0, 255], the same photographs in two sizes. extras: the core's
    other inputs. seeds, temperature: as in `Colorizer.colorize`.
    """

    low_BRR: Tensor
    high_BSS: Tensor
    extras: Extras
    seeds: Sequence[int]
    temperature: float


class Colorizer:
    """Gray photographs in two sizes -> color at the high resolution, with scores.

    The result for a photograph depends on its pixels, its seed and the weights, but not on the
    other photographs of its batch: the core always draws `batch_size` pictures at once (it repeats
    the last photograph if there are fewer), and everything else is computed one photograph at a
    time.
    """

    def __init__(
        self,
        core: ColTranCore,
        color: ColorUpsampler,
        spatial: SpatialUpsampler,
        batch_size: int = 8,
        method: Method = PUBLISHED_METHOD,
    ) -> None:
        """batch_size: how many photographs the core draws together.

        Raises:
            ValueError: resolutions that do not fit each other, or a batch size below 1.
        """
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
        """Which known colors the core can take into account: any of "hints" and "palette"."""
        config = self.core.config
        inputs = ("hints", config.hints), ("palette", config.palette)
        return frozenset(name for name, accepted in inputs if accepted)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: torch.device | str = "cpu",
        batch_size: int = 8,
        method: Method = PUBLISHED_METHOD,
    ) -> Self:
        """Load the three stages from a folder of weights, with the dtype of method.precision.

        Raises:
            WeightsError: a file is missing, unreadable or of another stage, or stages do not fit
                each other.
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

        gray_low: uint8 (B, R, R), and gray_high: uint8 (B, S, S), the same photographs. seeds: one
        per photograph, 0..2^63 - 1. temperature: at least 0; it divides the logits that bins are
        drawn from. hints: int64 (B, R, R), and palette: float32 (B, V), are known colors, as in
        model.encoder.Extras.

        Raises:
            ValueError: a wrong shape, temperature or number of seeds, or hints or a palette that
                these weights cannot use.
        """
        check_batch(gray_low, gray_high, seeds)
        device, parts = self.core.head.weight.device, []
        for start in range(0, len(gray_low), self.batch_size):
            places = slice(start, start + self.batch_size)
            low, high = (
                torch.from_numpy(gray[places].astype(np.int64)).to(device)
                for gray in (gray_low, gray_high)
            )
            trunk_input = high if self.core.config.trunk != "none" else None
            known = (
                None if part is None else torch.from_numpy(part[places])
                for part in (hints, palette)
            )
            extras = Extras(trunk_input, *known).to(device)
            parts.append(self._colorize(Batch(low, high, extras, seeds[places], temperature)))
        rgb, log_likelihood, *others = (
            torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True)
        )
        bits_per_pixel = -log_likelihood * BITS_PER_NAT / self.low_resolution**2
        return Colorized(rgb, log_likelihood, bits_per_pixel, *others)

    @torch.inference_mode()
    def _colorize(self, batch: Batch) -> Pictures:
        context = encode(self.core, batch.low_BRR, *batch.extras)
        method = self._draft if self.method.draft else self._draw
        return Pictures(*(part.cpu() for part in method(batch, context)))

    def _draft(self, batch: Batch, context: Tensor) -> Pictures:
        """Mean colors by one pass of the parallel head. context: of `encode`, (B, R, R, D)."""
        low = batch.low_BRR
        rgb, entropy = expected_color(self.core, context, low, batch.temperature)
        rgb = with_hints(saturate(rgb, self.method.saturation), batch.extras.hints_BHW)
        log_likelihood = log_likelihood_of(self.core, context, low, rgb)
        unknown = unknown_score(rgb)
        return Pictures(rgb, log_likelihood, unknown, unknown, entropy, *[unknown] * 3)

    def _draw(self, batch: Batch, context: Tensor) -> Pictures:
        """Bins drawn pixel by pixel, then the upsamplers. context: of `encode`, (B, R, R, D)."""
        low, temperature = batch.low_BRR, batch.temperature
        uniforms = draw_uniforms(low, batch.seeds, temperature)
        sample = sample_encoded(
            self._runners, low, context, uniforms, temperature, lanes=self.batch_size
        )
        rgb, color_bits = upsample(self.color, coarse_from_bins(sample.bins_BHW), low)
        spatial_bits = unknown_score(rgb)
        if self.method.upsampler == "spatial":
            factor = self.high_resolution // self.low_resolution
            blurry = rgb.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            rgb, spatial_bits = upsample(self.spatial, blurry, batch.high_BSS)
        rgb = saturate(rgb.to(torch.uint8), self.method.saturation)
        log_likelihood = sample.log_prob_BHW.sum(dim=(1, 2))
        excess = excess_bits(sample.log_prob_BHW, sample.expected_BHW)
        compared = compare_with_parallel_head(self.core, context, low, sample.bins_BHW)
        entropy = sample.entropy_BHW
        return Pictures(rgb, log_likelihood, color_bits, spatial_bits, entropy, excess, *compared)
