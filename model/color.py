"""Symbols of color, as ColTran quantizes them (section 4.1 of the paper).

Legend: B batch, H W rows and columns. A *bin* is one of 512 coarse colors, three bits a channel.
"""

import torch
from torch import Tensor

COARSE_LEVELS = 8
NUM_BINS = COARSE_LEVELS**3
COARSE_STEP = 256 // COARSE_LEVELS
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of R, G and B; pipeline.images knows no PyTorch


def gray_from_rgb(rgb: Tensor) -> Tensor:
    """Gray as the published training sees it: floor(0.2989 R + 0.587 G + 0.114 B) in float32.

    rgb: (..., 3) integers [0, 255]. Returns (...) int64 [0, 254]: white gives 254, because the
    published code truncates.
    """
    weights = torch.tensor([0.2989, 0.587, 0.114], dtype=torch.float32, device=rgb.device)
    red, green, blue = (rgb.float() * weights).unbind(-1)
    return (red + green + blue).long()


def saturate(rgb: Tensor, factor: float) -> Tensor:
    """Colors that are so many times as far from gray of their own luma (ITU-R BT.601).

    rgb: uint8 (..., 3). Returns the same shape, clipped; factor 1 returns the very values.
    """
    if factor == 1:
        return rgb
    gray = (rgb.float() * torch.tensor(LUMA, device=rgb.device)).sum(-1, True)
    return (gray + factor * (rgb - gray)).round().clamp(0, 255).to(torch.uint8)


def coarse_from_rgb(rgb: Tensor) -> Tensor:
    """Drop five of eight bits: (..., 3) integers [0, 255] -> int64 [0, 7]."""
    return rgb.long() // COARSE_STEP


def bins_from_coarse(coarse: Tensor) -> Tensor:
    """(..., 3) integers [0, 7] -> (...) int64 [0, 511]: red * 64 + green * 8 + blue."""
    red, green, blue = coarse.long().unbind(-1)
    return (red * COARSE_LEVELS + green) * COARSE_LEVELS + blue


def coarse_from_bins(bins: Tensor) -> Tensor:
    """(...) integers [0, 511] -> (..., 3) int64 [0, 7]."""
    red, rest = bins.long() // COARSE_LEVELS**2, bins.long() % COARSE_LEVELS**2
    return torch.stack((red, rest // COARSE_LEVELS, rest % COARSE_LEVELS), dim=-1)


def rgb_from_bins(bins: Tensor) -> Tensor:
    """(...) integers [0, 511] -> (..., 3) int64 [0, 224]: the coarse color back on eight bits."""
    return coarse_from_bins(bins) * COARSE_STEP


def check_symbols(name: str, symbols: Tensor, upper: int, shape: tuple[int, ...]) -> None:
    """Refuse symbols of a wrong type, shape or range.

    shape holds the expected sizes after the batch.

    Raises:
        ValueError: the message holds the name, what was expected and what came.
    """
    if symbols.is_floating_point() or symbols.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, not {symbols.dtype}")
    if symbols.dim() == 0 or tuple(symbols.shape[1:]) != shape:
        expected = ", ".join(["B", *map(str, shape)])
        raise ValueError(f"{name} must have shape ({expected}), not {tuple(symbols.shape)}")
    if symbols.numel() and not 0 <= int(symbols.min()) <= int(symbols.max()) < upper:
        low, high = int(symbols.min()), int(symbols.max())
        raise ValueError(f"{name} must lie in 0..{upper - 1}, not in {low}..{high}")
