"""Quantization of color and the gray of training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.color import (
    bins_from_coarse,
    check_symbols,
    coarse_from_bins,
    coarse_from_rgb,
    gray_from_rgb,
    rgb_from_bins,
    saturate,
)


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_bin_of_a_color_is_its_top_three_bits(rgb: tuple[int, int, int]) -> None:
    red, green, blue = (value >> 5 for value in rgb)
    bins = bins_from_coarse(coarse_from_rgb(torch.tensor(rgb)))
    assert int(bins) == red * 64 + green * 8 + blue
    assert rgb_from_bins(bins).tolist() == [value & 0b1110_0000 for value in rgb]


@given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(0, 4))
def test_saturation_moves_a_color_from_gray_along_its_hue(
    rgb: tuple[int, int, int], factor: float
) -> None:
    color = torch.tensor(rgb, dtype=torch.uint8)
    assert torch.equal(saturate(color, 1), color)
    gray = sum(weight * value for weight, value in zip((0.299, 0.587, 0.114), rgb, strict=True))
    wanted = [min(255.0, max(0.0, gray + factor * (value - gray))) for value in rgb]
    assert saturate(color, factor).tolist() == pytest.approx(wanted, abs=0.51)
    assert saturate(color, 0).unique().numel() == 1, "gray"


def test_bins_and_coarse_colors_are_one_to_one() -> None:
    bins = torch.arange(512)
    assert torch.equal(bins_from_coarse(coarse_from_bins(bins)), bins)


def test_gray_truncates_as_published() -> None:
    rgb = torch.tensor([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    assert gray_from_rgb(rgb).tolist() == [254, 0, 76, 149, 29]


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        (torch.zeros(1, 4, 4), "integers"),
        (torch.zeros(1, 4, 5, dtype=torch.int64), r"\(B, 4, 4\), not \(1, 4, 5\)"),
        (torch.zeros(4, 4, dtype=torch.int64), r"not \(4, 4\)"),
        (torch.full((1, 4, 4), 256), r"0\.\.255, not in 256\.\.256"),
        (torch.full((1, 4, 4), -1), "not in -1"),
    ],
)
def test_wrong_symbols_are_refused_with_the_numbers(symbols: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_symbols("gray", symbols, 256, (4, 4))
