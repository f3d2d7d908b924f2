"""How pictures are made where nobody says so: by mean or by sample, and at which temperature."""

# By method, chosen on held-out photographs and on scans, by eye (docs/model_card.md).
TEMPERATURES = {"mean": 0.5, "sample": 0.7}


def default_method(model: str, upsampler: str, candidates: int = 1) -> str:
    """mean for one candidate of ColTran's; sample for several, and for what has no mean color."""
    alone = candidates == 1 and model == "coltran" and upsampler == "spatial"
    return "mean" if alone else "sample"
