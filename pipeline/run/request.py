"""What a command asks for, checked and planned: the job that workers are given."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from pipeline.cluster.session import capacity, on_cluster
from pipeline.errors import DestinationMismatch, UsageError
from pipeline.ledger.choosing import chosen_photos, describe_nothing
from pipeline.ledger.hints import HintFile, read_hints
from pipeline.ledger.manifest import Manifest
from pipeline.ledger.palettes import read_palette
from pipeline.ledger.planning import OnPhase, check_recipe, prepare_run, refuse_overlap
from pipeline.ledger.recipe import Recipe
from pipeline.ledger.run_file import Run, current_versions, load_run, open_run
from pipeline.ledger.sources import Listing
from pipeline.ledger.updates import refuse_other_list
from pipeline.provenance.c2pa import Signer
from pipeline.provenance.signing import read_signer, refuse_unsigned
from pipeline.run.known_colors import require_support
from pipeline.run.options import (
    RecipeOptions,
    Resources,
    absolute_place,
    decide_recipe,
    method_of,
)
from pipeline.run.release import release_memory
from pipeline.storage.base import Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.open_storage import open_storage
from pipeline.weights.store import fetch_weights

# Photos: what a kill costs at most, and how often there is news. In large runs shards grow up to
# the second number: on a CPU, 32 pictures are drawn in 0.6 of the time of four times eight.
SHARD_SIZES = {"cpu": (4, 32), "cuda": (64, 64)}


@dataclass(frozen=True)
class Job:
    """What the workers are told.

    sizes: the model's low and high resolution. device: cpu or cuda; that of `resources` may still
    be auto. signer: of writers alone. begun: the destination held the run before this command.
    knows: what of photos' colors the weights can be told, "hints" or "palette".
    """

    source: Storage
    destination: Storage
    run: Run
    resources: Resources
    sizes: tuple[int, int]
    device: str
    signer: Signer | None = None
    begun: bool = False
    knows: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Request:
    """A source and a recipe that have passed all checks which need no plan.

    begun: that of the destination, where it has one. listing, hints: as in `prepare_run`. sizes,
    device, signer, knows: as in Job.
    """

    source: Storage
    recipe: Recipe
    begun: Recipe | None
    listing: Listing | None
    sizes: tuple[int, int]
    device: str
    signer: Signer | None
    knows: frozenset[str]
    hints: HintFile | None = None


def check_request(
    source: str, destination: Storage, options: RecipeOptions, resources: Resources
) -> Request:
    """What is asked for, in full. Writes nothing. Raises AutochromeError."""
    signer = _signer_of(resources)
    if signer is not None:
        refuse_unsigned(options.format)
    opened = open_storage(source, follow_links=options.follow_links)
    found = load_run(destination)
    if found is None:
        _refuse_empty_source(opened, options)
    hints = read_hints(options.hints) if options.hints else None
    if hints and options.pages == "first":
        hints.refuse_pages()
    device = _choose_device(resources.device)
    sizes, digests, knows = _check_weights(resources.weights, options.model)
    for name, place in (("hints", options.hints), ("palette", options.palette)):
        if place:
            require_support(f"--{name} {place}", name, resources.weights, knows)
    manifest = Manifest(options.manifest) if options.manifest else None
    facts = {
        "source": opened.uri,
        "weights": digests,
        "versions": current_versions(),
        "manifest": manifest.digest() if manifest else None,
        "content_credentials": signer is not None,
        "hints": hints.digest() if hints else None,
        "palette": read_palette(options.palette, sizes[0]) if options.palette else None,
    }
    begun = found.recipe if found else None
    recipe = decide_recipe(options, begun, device, facts)
    listing = partial(manifest.photos, opened) if manifest else None
    return Request(opened, recipe, begun, listing, sizes, device, signer, knows, hints)


def _refuse_empty_source(source: Storage, options: RecipeOptions) -> None:
    """Answers at once where a source is not there, or plainly has no photograph; of a bucket only
    where it is empty, as finding its first photograph could take minutes. Raises UsageError,
    StorageError."""
    some, ignored = next(source.list(skip=lambda _: "not now"), None), Counter[str]()
    if some and isinstance(source, LocalStorage) and options.manifest is None:
        taken = {name: getattr(options, name) for name in ("include", "exclude")}
        plain = Recipe(source=source.uri, weights={}, versions={}, **taken)
        some = next(chosen_photos(source, plain, None, ignored), None)
    if some is None:
        raise UsageError(describe_nothing(source, ignored))


def prepare_job(
    source: str,
    destination: Storage,
    options: RecipeOptions,
    resources: Resources,
    on_plan: Callable[[str, Mapping[str, str]], None] = lambda device, digests: None,
    on_phase: OnPhase = lambda phase, photos: None,
    update: bool = False,
) -> Job:
    """Check and plan. Raises AutochromeError, before any photo is worked on.

    on_plan: called before a plan is made, with the device and the digests of the weights. on_phase:
    as in `prepare_run`. update: the caller means to add photos to a plan that is there.
    """
    asked = check_request(source, destination, options, resources)
    recipe, device = asked.recipe, asked.device
    if update and asked.begun:
        refuse_other_list(destination, asked.begun, recipe)
    least, most = _shard_sizes(options.shard_size, device, recipe)
    planning = partial(on_plan, device, recipe.weights)
    try:
        run = prepare_run(
            *(asked.source, destination, recipe, least, asked.listing),
            *(planning, on_phase, asked.hints, most),
        )
    except DestinationMismatch:
        if asked.begun:
            raise
        # Another command has started a run meanwhile: what is left open goes on as decided there.
        return prepare_job(source, destination, options, resources, on_plan, on_phase, update)
    return _job(asked, destination, run, resources)


def reopen_job(destination: Storage, resources: Resources) -> Job:
    """The job of a destination that was started before; run.json tells all that decides pictures.

    Raises AutochromeError.
    """
    run = open_run(destination)
    signer = _same_signing(destination, run.recipe, resources)
    device = _choose_device(resources.device)
    sizes, digests, knows = _check_weights(resources.weights, run.recipe.model)
    now = replace(run.recipe, weights=digests, versions=current_versions())
    check_recipe(destination, run.recipe, now)
    source = open_storage(run.recipe.source)
    refuse_overlap(source, destination, run.recipe.include)  # run.json may be anyone's
    asked = Request(source, now, run.recipe, None, sizes, device, signer, knows)
    return _job(asked, destination, run, resources)


def _signer_of(resources: Resources) -> Signer | None:
    """Raises UsageError."""
    files = resources.c2pa_certificate, resources.c2pa_key
    return read_signer(*files, resources.c2pa_timestamp)


def _same_signing(destination: Storage, recipe: Recipe, resources: Resources) -> Signer | None:
    """The signer, where pictures are signed. Raises UsageError where that would change."""
    signer = _signer_of(resources)
    if recipe.content_credentials and signer is None:
        raise UsageError(
            f"{destination.uri} was started with signed pictures: give --c2pa-certificate and"
            " --c2pa-key"
        )
    if signer is not None and not recipe.content_credentials:
        raise UsageError(
            f"{destination.uri} was started without --c2pa-certificate: its pictures are not signed"
        )
    return signer


def _job(asked: Request, destination: Storage, run: Run, resources: Resources) -> Job:
    method_of(run.recipe)  # raises here what actors could not tell
    found = replace(resources, weights=absolute_place(resources.weights))
    facts = asked.sizes, asked.device, asked.signer, asked.begun is not None, asked.knows
    return Job(asked.source, destination, run, found, *facts)


def _shard_sizes(wanted: int | None, device: str, recipe: Recipe) -> tuple[int, int]:
    """Photos of a shard: in a small run, and at most, which several candidates make fewer."""
    if wanted is not None:
        return wanted, wanted
    least, most = (max(1, size // pages_per_file(recipe)) for size in SHARD_SIZES[device])
    return least, max(least, most // recipe.candidates)


def pages_per_file(recipe: Recipe) -> int:
    """How many pages a file is taken to have when shards and memory are planned."""
    return 8 if recipe.pages == "all" else 1


def _choose_device(wanted: str) -> str:
    """The device that the actors take. On a cluster, this process may have none of its kind."""
    import torch

    if wanted == "auto":
        there = capacity().max_gpus if on_cluster() else torch.cuda.is_available()
        return "cuda" if there else "cpu"
    if wanted == "cuda" and not on_cluster() and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here")
    return wanted


def _check_weights(
    place: str, model: str
) -> tuple[tuple[int, int], dict[str, str], frozenset[str]]:
    """Low and high resolution, the digests of the stages, and what they can be told (as in Job);
    loads them once, to be sure."""
    from model.systems import load_colorizer
    from model.weights import MODELS, WeightsError, file_digests

    try:
        if model not in MODELS:
            raise WeightsError(f"unknown model {model!r}; the models are {', '.join(MODELS)}")
        folder = fetch_weights(place, stages=MODELS[model])
        digests, colorizer = file_digests(folder, MODELS[model]), load_colorizer(model, folder)
    except WeightsError as error:
        raise UsageError(str(error)) from error
    told = (colorizer.low_resolution, colorizer.high_resolution), digests, colorizer.knows
    del colorizer
    release_memory()  # of the model, 64 MiB for the default weights
    return told
