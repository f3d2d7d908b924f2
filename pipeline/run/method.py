"""How pictures are made where nobody says so: by mean or by sample, how warm and how vivid."""

from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.ledger.plan import RunSpec

if TYPE_CHECKING:
    from model.colorizer import Method  # its torch would cost readers and writers seconds

# By method, chosen on held-out photographs and on scans, by eye (docs/model_card.md).
TEMPERATURES = {"mean": 0.5, "sample": 0.7}
SATURATIONS = {"mean": 1.4, "sample": 1.0}


def default_method(model: str, upsampler: str, candidates: int = 1) -> str:
    """mean for one candidate of ColTran's; sample for several, and for what has no mean color."""
    alone = candidates == 1 and model == "coltran" and upsampler == "spatial"
    return "mean" if alone else "sample"


def default_saturation(model: str, method: str) -> float:
    """That of the method; colors of other models are shown as they are."""
    return SATURATIONS[method] if model == "coltran" else 1.0


def method_of(spec: RunSpec) -> "Method":
    """How a run uses the model. Raises UsageError where run.json says what no model can."""
    from model.colorizer import Method

    try:
        return Method(spec.precision, spec.upsampler, spec.draft, spec.saturation)
    except ValueError as error:
        raise UsageError(f"the run's settings cannot work: {error}") from error
