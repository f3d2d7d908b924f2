"""How ColTran's stages are run: what a user can choose apart from weights and seeds."""

from dataclasses import dataclass

MAX_SATURATION = 4
PRECISIONS, UPSAMPLERS = ("float32", "bfloat16"), ("spatial", "guided")


@dataclass(frozen=True)
class Method:
    """How ColTran's stages are run.

    precision: of weights and activations, "float32" or "bfloat16". With either, sums within matrix
    products, softmax and likelihoods are computed in float32 or float64.

    upsampler: "spatial" runs all three stages. "guided" leaves out the spatial upsampler and
    returns the color upsampler's small picture, to be enlarged along the contours of the
    photograph.

    draft: use nothing but the core's parallel head, in one pass. Each pixel gets the mean of the
    512 bin colors, weighted by the head's distribution at the temperature (the annealed mean of
    Zhang et al., ECCV 2016, equation 5). A pixel with a hint gets the hint's color, whatever the
    saturation. The likelihood is the one that the autoregressive core assigns to that picture.

    saturation: 0 to 4, a factor on each color's distance from gray. The mean of several possible
    colors is paler than each of them; a factor above 1 makes up for that.

    Raises:
        ValueError: an unknown precision or upsampler, or a saturation out of range.
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
