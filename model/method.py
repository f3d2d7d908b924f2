"""How ColTran's stages are used: the choices a user has beside weights and seeds."""

from dataclasses import dataclass

MAX_SATURATION = 4
PRECISIONS, UPSAMPLERS = ("float32", "bfloat16"), ("spatial", "guided")


@dataclass(frozen=True)
class Method:
    """How ColTran's stages are used.

    precision: of weights and activations; sums inside of products, softmax and likelihoods are
    float32 or more in both. upsampler: spatial, or guided: the color upsampler's small picture is
    the result, for whoever enlarges it along the photograph's contours.

    draft: the core's parallel head in one pass replaces all stages. A pixel gets the mean of the
    head's colors, weighted by their distribution at the temperature (the annealed mean of Zhang et
    al., ECCV 2016, equation 5), or the color of its hint, at any saturation. The likelihood is what
    the core gives to that picture.

    saturation: how many times as far from gray as the model predicts them colors are shown. The
    mean of possible colors is paler than any of them.

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
