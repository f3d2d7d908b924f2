"""What a command asks for, checked and planned; and what a destination holds at its end."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError
from pipeline.plan import Run, RunSpec, current_versions, prepare_run
from pipeline.report import write_report
from pipeline.results import SCHEMA, read_results
from pipeline.storage import Storage, open_storage

# Photos. What a kill costs at most, and how often there is news.
SHARD_SIZE = {"cpu": 4, "cuda": 64}


@dataclass(frozen=True)
class Settings:
    """What a command asks for. shard_size None: by device. max_failed: "10", "5%" or None."""

    weights: Path
    seed: int = 0
    temperature: float = 0.7  # chosen on validation pictures of the default weights
    candidates: int = 1
    shard_size: int | None = None
    batch_size: int = 8
    output_size: str = "full"
    format: str = "auto"
    max_failed: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Summary:
    """What a destination holds when a command ends: photos by state, failures by reason."""

    photos: int
    failed: int
    pending: int
    reasons: dict[str, int]
    ignored: dict[str, int]
    destination: str
    report: str


@dataclass(frozen=True)
class Job:
    """What the workers are told; sizes are the model's low and high resolution."""

    source: Storage
    destination: Storage
    run: Run
    weights: Path
    batch_size: int
    sizes: tuple[int, int]
    device: str


def prepare_job(source: str, destination: str, settings: Settings) -> Job:
    """All checks, then the plan where there is none yet. Raises AutochromeError."""
    opened, device = open_storage(source), _choose_device(settings.device)
    sizes, digests = _check_weights(settings.weights)
    spec = RunSpec(
        source=opened.uri,
        seed=settings.seed,
        temperature=settings.temperature,
        candidates=settings.candidates,
        output_size=settings.output_size,
        format=settings.format,
        weights=digests,
        versions=current_versions(),
    )
    place = open_storage(destination)
    run = prepare_run(opened, place, spec, settings.shard_size or SHARD_SIZE[device])
    weights = settings.weights.resolve()
    return Job(opened, place, run, weights, settings.batch_size, sizes, device)


def summarize(destination: Storage, run: Run) -> Summary:
    """Count the ledger, and write the report of it. Raises StorageError."""
    results = pa.concat_tables([SCHEMA.empty_table(), *read_results(destination)])
    bad = results.filter(pc.equal(results["status"], "failed"))
    reasons = dict(zip(bad["photo"].to_pylist(), bad["reason"].to_pylist(), strict=True))
    report = write_report(destination, results, asdict(run.spec) | {"plan": asdict(run.plan)})
    return Summary(
        photos=run.plan.photos,
        failed=len(reasons),
        pending=run.plan.photos - len(pc.unique(results["photo"])),
        reasons=dict(Counter(reasons.values()).most_common()),
        ignored=run.plan.ignored,
        destination=destination.uri,
        report=report,
    )


def _choose_device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here")
    return wanted


def _check_weights(folder: Path) -> tuple[tuple[int, int], dict[str, str]]:
    """Low and high resolution, and the digests of the stages; loads them once, to be sure."""
    from model.colorizer import Colorizer
    from model.weights import WeightsError, file_digests

    try:
        digests, colorizer = file_digests(folder), Colorizer.load(folder)
    except WeightsError as error:
        raise UsageError(str(error)) from None
    return (colorizer.low_resolution, colorizer.high_resolution), digests
