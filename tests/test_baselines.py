from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.evaluation.baselines import MAX_BYTES, Baselines
from model.weights import WeightsError, load_stage

RED, GREEN, BLUE = (200, 30, 30), (30, 130, 30), (90, 90, 220)


def flat(*colors: tuple[int, int, int], side: int = 8) -> NDArray[np.uint8]:
    """One photograph of one color each, uint8 (N, side, side, 3)."""
    return np.array(colors, np.uint8)[:, None, None].repeat(side, 1).repeat(side, 2)


def noise(count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def test_colors_as_frequent_as_coins_cost_a_coin() -> None:
    # Gray tells the two apart, so only the histogram of colors alone has to pay.
    photographs = flat(RED, BLUE, side=32).repeat(64, 0)
    bits = Baselines.fit(photographs).bits(flat(RED, BLUE, side=32))
    np.testing.assert_allclose(bits.marginal, 1, atol=1e-3)
    np.testing.assert_allclose(bits.gray, 0, atol=2e-3)
    np.testing.assert_allclose(bits.neighbor, 0, atol=2e-3)


def test_colors_of_one_gray_cost_a_coin_until_a_neighbor_is_known() -> None:
    # Both are gray 88; inside of a photograph the neighbor tells, at its first pixel nothing does.
    first, second = (180, 42, 88), (84, 95, 63)
    photographs = flat(first, second, side=16).repeat(500, 0)
    bits = Baselines.fit(photographs).bits(photographs[499:501])
    np.testing.assert_allclose(bits.marginal, 1, atol=1e-3)
    np.testing.assert_allclose(bits.gray, 1, atol=1e-3)
    np.testing.assert_allclose(bits.neighbor, 1 / 256, atol=1e-3)


def test_unseen_colors_cost_what_uniform_bins_do_at_most_slightly_more() -> None:
    baselines = Baselines.fit(flat(RED, side=1))
    bits = baselines.bits(flat(GREEN, side=1))
    # One pixel was seen against the weight of ten uniform ones: 10 / 11 / 512.
    np.testing.assert_allclose(bits.marginal, 9 + np.log2(11 / 10))
    np.testing.assert_allclose(bits.gray, bits.marginal)
    np.testing.assert_allclose(bits.neighbor, bits.marginal)


def test_probabilities_sum_to_one_in_every_context() -> None:
    baselines = Baselines.fit(noise(3, 8))
    np.testing.assert_allclose(baselines.given_gray().sum(axis=1), 1)
    contexts = np.repeat(baselines.counts["both"].contexts[:5, None], 512, axis=1)
    bins = np.arange(512)[None].repeat(5, 0)
    smoothed = baselines.counts["both"].smoothed(contexts, bins, 3.0, np.full(bins.shape, 1 / 512))
    np.testing.assert_allclose(smoothed.sum(axis=1), 1)


def test_bits_of_a_photograph_do_not_depend_on_its_company() -> None:
    photographs = noise(300, 4)  # more than are counted at once
    baselines = Baselines.fit(photographs)
    together = baselines.bits(photographs)
    alone = baselines.bits(photographs[[299]])
    for whole, part in zip(together, alone, strict=True):
        assert whole.shape == (300,) and whole[299] == part[0]


def test_a_file_gives_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "baselines.safetensors"
    photographs = noise(5, 8) // 64 * 64  # counts that stay below the rounding
    baselines = Baselines.fit(photographs)
    baselines.save(path)
    again = Baselines.load(path)
    assert (again.resolution, again.photos) == (8, 5)
    for before, after in zip(baselines.bits(photographs), again.bits(photographs), strict=True):
        np.testing.assert_allclose(after, before, rtol=0.01)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_file_stays_below_its_limit_at_the_cost_of_what_was_rare(tmp_path: Path) -> None:
    photographs = noise(200, 16) // 32 * 32
    baselines = Baselines.fit(photographs)
    baselines.save(tmp_path / "whole")
    baselines.save(tmp_path / "small", max_bytes=100_000)
    whole, small = (tmp_path / "whole").stat().st_size, (tmp_path / "small").stat().st_size
    assert small <= 100_000 < whole <= MAX_BYTES
    bits, pruned = baselines.bits(photographs), Baselines.load(tmp_path / "small").bits(photographs)
    np.testing.assert_array_equal(pruned.gray, bits.gray)
    assert pruned.neighbor.mean() > bits.neighbor.mean()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Baselines.fit(noise(0, 8))
    baselines = Baselines.fit(noise(1, 8))
    with pytest.raises(ValueError, match="8 x 8"):
        baselines.bits(noise(1, 4))
    with pytest.raises(WeightsError, match="no baselines at"):
        Baselines.load(tmp_path / "none")
    baselines.save(tmp_path / "file")
    with pytest.raises(WeightsError, match="unknown stage 'baselines'"):
        load_stage(tmp_path / "file")
    data = (tmp_path / "file").read_bytes()
    for broken in (data[:-9], data[:-9] + bytes(9), b"x" * 99, data.replace(b"format", b"farmat")):
        (tmp_path / "file").write_bytes(broken)
        with pytest.raises(WeightsError, match="not a readable file"):
            Baselines.load(tmp_path / "file")
