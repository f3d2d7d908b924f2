"""The scores of PIC on color photographs, as `evaluate` computes them for ColTran's core."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model.pic.colorizer import PicColorizer
from pipeline.evaluation.figures import Evaluation
from pipeline.ledger.results import null_if_nan
from pipeline.training.photographs import PhotographSet


def score_pic(
    result: Evaluation,
    rgb_NSS3: np.ndarray,
    colorizer: PicColorizer,
    on_progress: Callable[[int, int], None],
) -> np.ndarray:
    """Bits and chroma of true photographs; returns the parallel head's expected colors.

    rgb_NSS3: uint8 at the large resolution; the result uint8 (N, R, R, 3) at that of the chroma.
    """
    from model.evaluation.pic import PicScores, score
    from model.evaluation.scores import explained_variance

    parts, step = [], colorizer.batch_size
    on_progress(0, len(rgb_NSS3))
    for start in range(0, len(rgb_NSS3), step):
        parts.append(score(colorizer.pic, rgb_NSS3[start : start + step]))
        on_progress(min(start + step, len(rgb_NSS3)), len(rgb_NSS3))
    scores = PicScores(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    result.chroma = scores.true_chroma, scores.expected_chroma
    explained = explained_variance(scores.true_chroma, scores.expected_chroma)
    result.bits |= {"PIC": scores.pic_bits, "parallel head": scores.parallel_bits}
    result.figures |= {
        "photos": len(rgb_NSS3),
        "pic_resolution": colorizer.low_resolution,
        "pic_bits_per_pixel": float(scores.pic_bits.mean()),
        "pic_parallel_bits_per_pixel": float(scores.parallel_bits.mean()),
        "chroma_r2": null_if_nan(explained),
    }
    return scores.expected_rgb


def shrink(photographs: PhotographSet, side: int) -> PhotographSet:
    """The same photographs as squares of another size."""
    import torch

    from model.scaling import scale_by_area

    return replace(photographs, rgb=scale_by_area(torch.from_numpy(photographs.rgb), side).numpy())
