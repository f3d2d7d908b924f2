"""What an evaluation is asked for."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.run.options import TEMPERATURES, default_method, default_saturation
from pipeline.training.photographs import Split


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of a command; device "auto", "cpu" or "cuda". pictures: how many at most.

    method: mean or sample; None: the method of a run with one candidate. temperature, saturation
    None: those of the method. by: a column of a Parquet file; each of its groups gets figures of
    its own.
    """

    weights: Path
    split: Split = "all"
    split_column: str | None = None
    by: str | None = None
    limit: int | None = None
    pictures: int = 200
    seed: int = 0
    temperature: float | None = None
    saturation: float | None = None
    batch_size: int = 8
    device: str = "auto"
    baseline: str | None = None
    save_baseline: Path | None = None
    inception: Path | None = None
    model: str = "coltran"
    precision: str = "float32"
    upsampler: str = "spatial"
    method: str | None = None

    def resolved(self) -> "EvaluationSettings":
        """The same with a method and a temperature. Raises UsageError."""
        default = default_method(self.model, self.upsampler)
        if self.method == "mean" and default != "mean":
            raise UsageError("--method mean is for the model coltran, without --upsampler")
        method = self.method or default
        temperature = TEMPERATURES[method] if self.temperature is None else self.temperature
        saturation = default_saturation(self.model, method)
        if self.saturation is not None:
            saturation = self.saturation
        return replace(self, method=method, temperature=temperature, saturation=saturation)
