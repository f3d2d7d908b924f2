"""What a command asks for, checked and planned; and what a destination holds at its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.cluster.session import capacity, on_cluster
from pipeline.errors import UsageError
from pipeline.ledger.manifest import Manifest
from pipeline.ledger.plan import Run, RunSpec, current_versions, load_run
from pipeline.ledger.planning import Listing, check_spec, prepare_run, refuse_overlap
from pipeline.ledger.results import read_results
from pipeline.ledger.status import Failure, Ledger
from pipeline.provenance.c2pa import Signer, read_signer, refuse_unsigned
from pipeline.provenance.premis import write_premis
from pipeline.review.pages import write_review
from pipeline.run.method import TEMPERATURES, default_method, default_saturation, method_of
from pipeline.storage.base import Storage
from pipeline.storage.open_storage import open_storage
from pipeline.weights.store import fetch_weights

# Photos. What a kill costs at most, and how often there is news.
SHARD_SIZE = {"cpu": 4, "cuda": 64}
NAMED_FAILURES = 10  # photos, at the end of a run


@dataclass(frozen=True)
class Settings:
    """What a command asks for.

    weights: a folder or s3://bucket/prefix. shard_size None: by device. max_failed: "10", "5%" or
    None. manifest: a list of photos that is taken instead of all that the source holds; include,
    exclude: patterns of paths, as in a shell, but for `*`, which matches "/" too. actors: how many
    at least and at most hold the model; None: as many as there are GPUs, or cores. gpus_per_actor:
    share of a GPU that each takes. precision: auto, which is bfloat16 on a GPU and float32 without,
    and what a destination was started with; else as in RunSpec, like recolor, pages,
    digital_source_type, model, upsampler, sidecar and mark. method: mean or sample; auto is what
    a destination was started with, else mean for one candidate and sample for several. temperature,
    saturation None: those of the method.
    follow_links: links that lead out of the source are listed too.
    c2pa_certificate, c2pa_key: files that sign pictures; None: pictures are not signed.
    log_as_json: the log of the run has an object a line. limit: photos at most, of the listing's
    first; None: all.
    """

    weights: str
    seed: int = 0
    temperature: float | None = None
    saturation: float | None = None
    candidates: int = 1
    shard_size: int | None = None
    batch_size: int = 8
    output_size: str = "full"
    format: str = "auto"
    max_failed: str | None = None
    device: str = "auto"
    manifest: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recolor: bool = False
    pages: str = "first"
    digital_source_type: str = "compositeWithTrainedAlgorithmicMedia"
    sidecar: bool = False
    mark: bool = False
    single_writer: bool = False
    follow_links: bool = False
    actors: tuple[int, int] | None = None
    gpus_per_actor: float = 1.0
    model: str = "coltran"
    precision: str = "auto"
    upsampler: str = "spatial"
    method: str = "auto"
    c2pa_certificate: str | None = None
    c2pa_key: str | None = None
    log_as_json: bool = False
    limit: int | None = None


@dataclass(frozen=True)
class Summary:
    """What a destination holds when a command ends: photos by state, failures by reason.

    more_pages: photos that have more pages than the run takes. log: the file with the causes of
    failures; None where nothing was logged. failures: the first that failed. retried: how many
    failed ones were planned once more; None where that was not asked for. source: where the
    masters are.
    """

    photos: int
    failed: int
    skipped: int
    pending: int
    reasons: dict[str, int]
    ignored: dict[str, int]
    destination: str
    report: str
    more_pages: int = 0
    log: str | None = None
    failures: tuple[Failure, ...] = ()
    source: str = ""
    retried: int | None = None


@dataclass(frozen=True)
class Job:
    """What the workers are told; sizes are the model's low and high resolution.

    actors, gpus_per_actor: as in Settings. signer: of writers alone.
    """

    source: Storage
    destination: Storage
    run: Run
    weights: str
    batch_size: int
    sizes: tuple[int, int]
    device: str
    actors: tuple[int, int] | None = None
    gpus_per_actor: float = 1.0
    signer: Signer | None = None


@dataclass(frozen=True)
class Request:
    """A source and settings that have passed all checks which need no plan.

    listing: as in `prepare_run`. sizes: the model's low and high resolution.
    """

    source: Storage
    spec: RunSpec
    listing: Listing | None
    sizes: tuple[int, int]
    device: str
    signer: Signer | None


def check_request(source: str, destination: Storage, settings: Settings) -> Request:
    """What is asked for, in full. Writes nothing. Raises AutochromeError."""
    signer = read_signer(settings.c2pa_certificate, settings.c2pa_key)
    if signer is not None:
        refuse_unsigned(settings.format)
    opened = open_storage(source, follow_links=settings.follow_links)
    found = load_run(destination)
    if found is None:
        next(opened.list(skip=lambda _: "not now"), None)  # raises where there is no such place
    device = _choose_device(settings.device)
    sizes, digests = _check_weights(settings.weights, settings.model)
    manifest = Manifest(settings.manifest) if settings.manifest else None
    begun = found.spec if found else None
    mean, temperature, saturation = _choose_method(settings, begun)
    spec = RunSpec(
        source=opened.uri,
        seed=settings.seed,
        temperature=temperature,
        candidates=settings.candidates,
        output_size=settings.output_size,
        format=settings.format,
        weights=digests,
        versions=current_versions(),
        manifest=manifest.digest() if manifest else None,
        include=settings.include,
        exclude=settings.exclude,
        recolor=settings.recolor,
        pages=settings.pages,
        digital_source_type=settings.digital_source_type,
        model=settings.model,
        precision=_choose_precision(settings, begun, device),
        upsampler="guided" if mean else settings.upsampler,
        draft=mean,
        sidecar=settings.sidecar,
        content_credentials=signer is not None,
        mark=settings.mark,
        saturation=saturation,
        limit=settings.limit,
    )
    listing = partial(manifest.photos, opened) if manifest else None
    return Request(opened, spec, listing, sizes, device, signer)


def prepare_job(
    source: str,
    destination: Storage,
    settings: Settings,
    on_plan: Callable[[str, Mapping[str, str]], None] = lambda device, digests: None,
) -> Job:
    """Check and plan. Raises AutochromeError, before any photo is worked on.

    on_plan: called before a plan is made, with the device and the digests of the weights.
    """
    asked = check_request(source, destination, settings)
    spec, device = asked.spec, asked.device
    shard_size = settings.shard_size or max(1, SHARD_SIZE[device] // pages_per_file(spec))
    planning = partial(on_plan, device, spec.weights)
    run = prepare_run(asked.source, destination, spec, shard_size, asked.listing, planning)
    return _job(settings, asked.source, destination, run, asked.sizes, device, asked.signer)


def reopen_job(destination: Storage, settings: Settings) -> Job:
    """The job of a destination that was started before; run.json tells all that decides pictures.

    Only weights, batch_size, device and the signer of the settings count. Raises AutochromeError.
    """
    run = open_run(destination)
    signer = read_signer(settings.c2pa_certificate, settings.c2pa_key)
    if run.spec.content_credentials and signer is None:
        raise UsageError(
            f"{destination.uri} was started with signed pictures: give --c2pa-certificate and"
            " --c2pa-key"
        )
    if signer is not None and not run.spec.content_credentials:
        raise UsageError(
            f"{destination.uri} was started without --c2pa-certificate: its pictures are not signed"
        )
    device = _choose_device(settings.device)
    sizes, digests = _check_weights(settings.weights, run.spec.model)
    check_spec(
        destination, run.spec, replace(run.spec, weights=digests, versions=current_versions())
    )
    source = open_storage(run.spec.source)
    refuse_overlap(source, destination)  # run.json may be anyone's
    return _job(settings, source, destination, run, sizes, device, signer)


def _job(
    settings: Settings,
    source: Storage,
    destination: Storage,
    run: Run,
    sizes: tuple[int, int],
    device: str,
    signer: Signer | None,
) -> Job:
    method_of(run.spec)  # raises here what actors could not tell
    return Job(
        source,
        destination,
        run,
        absolute_place(settings.weights),
        settings.batch_size,
        sizes,
        device,
        settings.actors,
        settings.gpus_per_actor,
        signer,
    )


def pages_per_file(spec: RunSpec) -> int:
    """How many are reckoned with."""
    return 8 if spec.pages == "all" else 1


def open_run(destination: Storage) -> Run:
    """The run of a destination that must have one. Raises UsageError, StorageError."""
    run = load_run(destination)
    if run is None:
        raise UsageError(f"{destination.uri} holds no run of Autochrome: it has no run.json")
    return run


def summarize(destination: Storage, run: Run) -> Summary:
    """Count the ledger, and write the report and the events of it. Raises StorageError."""
    ledger = Ledger(destination, run)
    ledger.refresh()
    status = ledger.status()
    report = write_review(destination, run)
    write_premis(destination, read_results(destination, run), run)
    return Summary(
        photos=status.photos,
        failed=sum(status.failed.values()),
        skipped=status.skipped,
        pending=status.pending,
        more_pages=status.more_pages,
        reasons=status.failed,
        ignored=run.plan.ignored,
        destination=destination.uri,
        report=report,
        source=run.spec.source,
        failures=tuple(ledger.explained_failures(NAMED_FAILURES)),
    )


def _choose_device(wanted: str) -> str:
    """The device that the actors take. On a cluster, this process may have none of its kind."""
    import torch

    if wanted == "auto":
        there = capacity().max_gpus if on_cluster() else torch.cuda.is_available()
        return "cuda" if there else "cpu"
    if wanted == "cuda" and not on_cluster() and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here")
    return wanted


def _choose_precision(settings: Settings, begun: RunSpec | None, device: str) -> str:
    """Where a run was begun already, its own counts."""
    if settings.precision != "auto":
        return settings.precision
    if begun:
        return begun.precision
    return "bfloat16" if device == "cuda" and settings.model == "coltran" else "float32"


def _choose_method(settings: Settings, begun: RunSpec | None) -> tuple[bool, float, float]:
    """Whether pictures are the model's mean color, the temperature, and the saturation.

    begun: the run that the destination holds, which auto goes on with. Raises UsageError.
    """
    if settings.model != "coltran":
        for name, unwanted in (
            ("--precision bfloat16", settings.precision == "bfloat16"),
            ("--upsampler guided", settings.upsampler != "spatial"),
            ("--method mean", settings.method == "mean"),
            ("--saturation", settings.saturation is not None),
        ):
            if unwanted:
                raise UsageError(f"{name} is for the model coltran, not {settings.model}")
    method = settings.method
    if method == "auto":
        method = default_method(settings.model, settings.upsampler, settings.candidates)
        if begun and settings.candidates == 1 and settings.model == "coltran":
            method = "mean" if begun.draft else "sample"
    mean = method == "mean"
    if mean and settings.candidates > 1:
        raise UsageError(f"--method mean has one picture of a photo, not {settings.candidates}")
    temperature, saturation = TEMPERATURES[method], default_saturation(settings.model, method)
    if begun and begun.draft == mean:
        temperature, saturation = begun.temperature, begun.saturation
    if settings.temperature is not None:
        temperature = settings.temperature
    if settings.saturation is not None:
        saturation = settings.saturation
    return mean, temperature, saturation


def absolute_place(place: str) -> str:
    """A folder as workers find it, whatever theirs is; URIs as they are."""
    return place if "://" in place else str(Path(place).resolve())


def _check_weights(place: str, model: str) -> tuple[tuple[int, int], dict[str, str]]:
    """Low and high resolution, and the digests of the stages; loads them once, to be sure."""
    from model.systems import load_colorizer
    from model.weights import MODELS, WeightsError, file_digests

    try:
        if model not in MODELS:
            raise WeightsError(f"unknown model {model!r}; the models are {', '.join(MODELS)}")
        folder = fetch_weights(place, stages=MODELS[model])
        digests, colorizer = file_digests(folder, MODELS[model]), load_colorizer(model, folder)
    except WeightsError as error:
        raise UsageError(str(error)) from error
    return (colorizer.low_resolution, colorizer.high_resolution), digests
