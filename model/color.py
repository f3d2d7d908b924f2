"""Color as symbols, quantized as in ColTran (section 4 of the paper).

Legend: B batch, H W rows and columns. A *bin* is one of 512 coarse colors, three bits per
channel.
"""

import torch
from torch import Tensor

COARSE_LEVELS = 8
NUM_BINS = COARSE_LEVELS**3
COARSE_STEP = 256 // COARSE_LEVELS
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of R, G and B


def gray_from_rgb(rgb: Tensor) -> Tensor:
    """Gray as in the published training: floor(0.2989 R + 0.587 G + 0.114 B), computed in float32.

    rgb: integers [0, 255] (..., 3). Returns int64 [0, 254] (...): white becomes 254, because the
    published code truncates.
    """
    weights = torch.tensor([0.2989, 0.587, 0.114], dtype=torch.float32, device=rgb.device)
    red, green, blue = (rgb.float() * weights).unbind(-1)
    return (red + green + blue).long()


def saturate(rgb: Tensor, factor: float) -> Tensor:
    """Multiply each color's distance from the gray of the same luma (ITU-R BT.601) by a factor.

    rgb: uint8 (..., 3). Returns uint8 (..., 3), clipped to 0..255; factor 1 returns rgb itself.
    """
    if factor == 1:
        return rgb
    gray = (rgb.float() * torch.tensor(LUMA, device=rgb.device)).sum(-1, True)
    return (gray + factor * (rgb - gray)).round().clamp(0, 255).to(torch.uint8)


def coarse_from_rgb(rgb: Tensor) -> Tensor:
    """Keep the upper three of eight bits: integers [0, 255] (..., 3) -> int64 [0, 7] (..., 3)."""
    return rgb.long() // COARSE_STEP


def bins_from_coarse(coarse: Tensor) -> Tensor:
    """Integers [0, 7] (..., 3) -> int64 [0, 511] (...): red * 64 + green * 8 + blue."""
    red, green, blue = coarse.long().unbind(-1)
    return (red * COARSE_LEVELS + green) * COARSE_LEVELS + blue


def coarse_from_bins(bins: Tensor) -> Tensor:
    """Integers [0, 511] (...) -> int64 [0, 7] (..., 3); the inverse of `bins_from_coarse`."""
    red, rest = bins.long() // COARSE_LEVELS**2, bins.long() % COARSE_LEVELS**2
    return torch.stack((red, rest // COARSE_LEVELS, rest % COARSE_LEVELS), dim=-1)


def rgb_from_bins(bins: Tensor) -> Tensor:
    """Integers [0, 511] (...) -> int64 [0, 224] (..., 3): the darkest color of each bin."""
    return coarse_from_bins(bins) * COARSE_STEP


def bin_centers() -> Tensor:
    """RGB of the center of each bin, float64 (512, 3): 15.5 to 239.5."""
    return rgb_from_bins(torch.arange(NUM_BINS)).double() + (COARSE_STEP - 1) / 2


def check_symbols(name: str, symbols: Tensor, upper: int, shape: tuple[int, ...]) -> None:
    """Check that symbols are integers [0, upper - 1] of shape (B, *shape).

    Raises:
        ValueError: another type, shape or range; the message has the name, what was expected and
            what was found.
    """
    if symbols.is_floating_point() or symbols.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, not {symbols.dtype}")
    if symbols.dim() == 0 or tuple(symbols.shape[1:]) != shape:
        expected = ", ".join(["B", *map(str, shape)])
        raise ValueError(f"{name} must have shape ({expected}), not {tuple(symbols.shape)}")
    if symbols.numel() and not 0 <= int(symbols.min()) <= int(symbols.max()) < upper:
        low, high = int(symbols.min()), int(symbols.max())
        raise ValueError(f"{name} must lie in 0..{upper - 1}, not in {low}..{high}")
