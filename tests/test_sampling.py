"""The cached sampler is the slow one; its log-probabilities are the teacher-forced ones."""

import pytest
import torch
from test_core import OPTIONS

from model.core import ColTranCore
from model.encoder import Extras
from model.sampling import sample_core, sample_core_slow
from model.sampling.cached import encode
from model.sampling.draw import draw
from support.tiny_models import tiny_core

SLOW, SEEDS = pytest.mark.slow, [3, 2**63 - 1, 11]


def gray_photographs(count: int = 3, resolution: int = 8) -> torch.Tensor:
    return torch.randint(256, (count, resolution, resolution), generator=torch.manual_seed(5))


def teacher_forced(core: ColTranCore, bins: torch.Tensor, gray: torch.Tensor) -> torch.Tensor:
    log_prob = torch.log_softmax(core(bins, gray).double(), dim=-1)
    return log_prob.gather(-1, bins[..., None])[..., 0]


@pytest.mark.parametrize("temperature", [pytest.param(0, marks=SLOW), 0.7])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.usefixtures("two_threads")
def test_cached_equals_slow_bin_by_bin(options: dict[str, object], temperature: float) -> None:
    core, gray = tiny_core(8, **options), gray_photographs()
    fast = sample_core(core, gray, SEEDS, temperature)
    slow = sample_core_slow(core, gray, SEEDS, temperature)
    assert torch.equal(fast.bins_BHW, slow.bins_BHW)
    assert len(fast.bins_BHW.unique()) > (1 if temperature == 0 else 20), "a picture, not a color"
    torch.testing.assert_close(fast.log_prob_BHW, slow.log_prob_BHW, rtol=0, atol=5e-5)
    torch.testing.assert_close(fast.entropy_BHW, slow.entropy_BHW, rtol=0, atol=5e-5)
    assert fast.entropy_BHW.dtype == torch.float32
    torch.testing.assert_close(fast.expected_BHW, slow.expected_BHW, rtol=0, atol=5e-5)
    expected = teacher_forced(core, fast.bins_BHW, gray)
    torch.testing.assert_close(fast.log_prob_BHW, expected, rtol=0, atol=5e-5)


@pytest.mark.usefixtures("two_threads")
def test_a_photograph_gets_its_picture_in_any_company() -> None:
    core, gray = tiny_core(), gray_photographs(11)
    seeds = list(range(100, 111))
    together = sample_core(core, gray, seeds)
    for places in ([4], [10, 4], [0, 1, 4], [4, 4, 9, 2, 3], list(range(10, -1, -1))):
        apart = sample_core(core, gray[places], [seeds[place] for place in places])
        assert torch.equal(apart.bins_BHW, together.bins_BHW[places])
        assert torch.equal(apart.log_prob_BHW, together.log_prob_BHW[places])
        assert torch.equal(apart.entropy_BHW, together.entropy_BHW[places])
        assert torch.equal(apart.expected_BHW, together.expected_BHW[places])


@torch.inference_mode()
def test_a_photograph_is_encoded_once_for_all_its_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core, gray = tiny_core(hints=True), gray_photographs(2)[[0, 0, 0, 1, 1, 0]]
    hints = torch.full_like(gray, 512)
    hints[1:, 0, 0] = 7  # of the first photograph, one is given no hint
    apart = torch.cat([encode(core, gray[[one]], None, hints[[one]]) for one in range(6)])
    encoded: list[torch.Tensor] = []
    embed = core.encoder.embed

    def counted(gray_BHW: torch.Tensor, extras: Extras) -> torch.Tensor:
        encoded.append(gray_BHW)
        return embed(gray_BHW, extras)

    monkeypatch.setattr(core.encoder, "embed", counted)
    assert torch.equal(encode(core, gray, None, hints), apart)
    assert torch.equal(torch.cat(encoded), gray[[0, 1, 3, 5]])


def test_seeds_decide() -> None:
    core, gray = tiny_core(), gray_photographs(1).repeat(2, 1, 1)
    same = sample_core(core, gray, [1, 1]).bins_BHW
    other = sample_core(core, gray, [1, 2]).bins_BHW
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], other[0])
    assert not torch.equal(other[0], other[1])
    likely = sample_core(core, gray, [1, 2], temperature=0).bins_BHW
    assert torch.equal(likely[0], likely[1])


def test_draw_follows_the_distribution() -> None:
    logits = torch.log(torch.tensor([0.5, 0.125, 0.25, 0.125]))
    uniform = (torch.arange(8000) + 0.5).double() / 8000
    bins, log_prob, entropy, mean = draw(logits.expand(8000, 4), uniform, temperature=1.0)
    assert torch.bincount(bins).tolist() == [4000, 1000, 2000, 1000]
    torch.testing.assert_close(log_prob, logits.double()[bins], rtol=0, atol=1e-6)
    assert entropy.min() == entropy.max() == pytest.approx(1.75)
    assert float(mean[0]) == pytest.approx(float(log_prob.mean()))
    bins, log_prob, entropy, mean = draw(logits.expand(8000, 4), uniform, temperature=0.5)
    assert entropy[0] == pytest.approx(1.75), "of what the model says, not of what was asked for"
    assert float(mean[0]) == pytest.approx(float(log_prob.mean()), abs=2e-3), "of what is drawn"
    likeliest = draw(logits.expand(8000, 4), uniform, temperature=0)
    assert torch.equal(likeliest.expected, likeliest.log_prob), "nothing else could come"
    shares = torch.bincount(bins) / 8000
    expected = torch.tensor([0.25, 0.015625, 0.0625, 0.015625])
    torch.testing.assert_close(shares, expected / expected.sum(), rtol=0, atol=1e-3)
    assert torch.equal(log_prob, torch.log_softmax(logits.double(), -1)[bins])


def test_edges_of_the_unit_interval_stay_in_range() -> None:
    logits = torch.tensor([[0.0, -1e4, 0.0, -1e4]]).repeat(2, 1)
    bins, _, entropy, _ = draw(
        logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), temperature=1.0
    )
    assert bins.tolist() == [0, 2], "bins of probability 0 are never drawn"
    assert entropy.tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("count", "seeds", "temperature", "words"),
    [
        (2, [1], 1.0, "1 seeds for gray of shape"),
        (0, [], 1.0, "0 seeds"),
        (1, [1], -1.0, "temperature must be 0 or more, not -1.0"),
        (1, [1], float("nan"), "temperature"),
    ],
)
def test_wrong_arguments_are_refused(
    count: int, seeds: list[int], temperature: float, words: str
) -> None:
    for sampler in (sample_core, sample_core_slow):
        with pytest.raises(ValueError, match=words):
            sampler(tiny_core(), gray_photographs(count), seeds, temperature)
