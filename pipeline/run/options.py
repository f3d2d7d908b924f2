"""What a command asks for: options that decide pictures, and resources that do not.

`decide_recipe` turns the first into a recipe; what is left open (`auto`, None) is decided there,
and where a destination was begun already, as it was decided then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError
from pipeline.ledger.ranking import DEFAULTS, FORMER, refuse_ranking
from pipeline.ledger.recipe import MODEL_NAMES, Choices, Recipe

if TYPE_CHECKING:
    from model.method import Method  # its torch would cost readers and writers seconds

# By method, chosen on held-out photographs and on scans, by eye (docs/model_card.md).
TEMPERATURES = {"mean": 1.0, "sample": 0.7}
SATURATIONS = {"mean": 1.7, "sample": 1.0}


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Choices):
    """What a command asks for that decides pictures and their names.

    method: mean, sample, or auto, which is mean for one candidate and sample for several.
    temperature, saturation None: those of the method. precision auto: bfloat16 on a GPU, float32
    without. shard_size: photos that are committed together, which counts at the first start only;
    None: by device. manifest: a file that lists the photos to take; None: all of the source.
    follow_links: links that lead out of the source are listed, too. hints: a file of them. palette:
    a picture whose colors are taken for all photos. rank_by: a way of ledger.ranking; None: the
    model's own.
    """

    method: str = "auto"
    temperature: float | None = None
    saturation: float | None = None
    precision: str = "auto"
    upsampler: str = "spatial"
    shard_size: int | None = None
    manifest: str | None = None
    follow_links: bool = False
    hints: str | None = None
    palette: str | None = None
    rank_by: str | None = None


@dataclass(frozen=True)
class Resources:
    """What a run works with; any start of a destination may choose others.

    weights: a folder or s3://bucket/prefix. batch_size: photos that the model processes at once;
    None: what suits its weights and device. actors: how many at least and at
    most hold the model; None: one for each GPU, or core. gpus_per_actor: the share of a GPU that
    each takes. max_failed: "10", "5%" or None. single_writer: no other command works on the
    destination. c2pa_certificate, c2pa_key: files that sign pictures; None: pictures are not
    signed. c2pa_timestamp: URL of the authority that is asked for time stamps. log_as_json: the log
    of the run has one object a line.
    """

    weights: str
    batch_size: int | None = None
    device: str = "auto"
    actors: tuple[int, int] | None = None
    gpus_per_actor: float = 1.0
    max_failed: str | None = None
    single_writer: bool = False
    c2pa_certificate: str | None = None
    c2pa_key: str | None = None
    c2pa_timestamp: str | None = None
    log_as_json: bool = False


def decide_recipe(
    options: RecipeOptions, begun: Recipe | None, device: str, facts: Mapping[str, Any]
) -> Recipe:
    """The recipe that is asked for, with all that was left open decided.

    begun: that of the destination, which what was left open goes on with; None where there is none
    yet. facts: what is no choice (source, weights, versions, manifest, content_credentials), or
    was read from what was chosen (hints, palette). Raises UsageError.
    """
    _refuse_options_of_coltran(options)
    mean = _draws_mean(options, begun)
    temperature, saturation = _strength(options, begun, mean)
    chosen = {each.name: getattr(options, each.name) for each in fields(Choices)}
    return Recipe(
        **chosen,
        **facts,
        temperature=temperature,
        saturation=saturation,
        precision=_precision(options, begun, device),
        upsampler="guided" if mean else options.upsampler,
        draft=mean,
        rank_by=_ranking(options, begun),
        model_name=begun.model_name if begun else MODEL_NAMES[options.model],
    )


def _refuse_options_of_coltran(options: RecipeOptions) -> None:
    if options.model == "coltran":
        return
    for name, unwanted in (
        ("--precision bfloat16", options.precision == "bfloat16"),
        ("--upsampler guided", options.upsampler != "spatial"),
        ("--method mean", options.method == "mean"),
        ("--saturation", options.saturation is not None),
    ):
        if unwanted:
            raise UsageError(f"{name} is for the model coltran, not {options.model}")


def _draws_mean(options: RecipeOptions, begun: Recipe | None) -> bool:
    """Whether pictures are the model's mean color, not drawn. Raises UsageError."""
    if options.method == "auto":
        if begun and options.candidates == 1 and options.model == "coltran":
            return begun.draft
        return default_method(options.model, options.upsampler, options.candidates) == "mean"
    mean = options.method == "mean"
    if mean and options.candidates > 1:
        raise UsageError(f"--method mean has one picture of a photo, not {options.candidates}")
    return mean


def _strength(options: RecipeOptions, begun: Recipe | None, mean: bool) -> tuple[float, float]:
    """Temperature and saturation."""
    method = "mean" if mean else "sample"
    temperature, saturation = TEMPERATURES[method], default_saturation(options.model, method)
    if begun and begun.draft == mean:
        temperature, saturation = begun.temperature, begun.saturation
    return (
        temperature if options.temperature is None else options.temperature,
        saturation if options.saturation is None else options.saturation,
    )


def _precision(options: RecipeOptions, begun: Recipe | None, device: str) -> str:
    if options.precision != "auto":
        return options.precision
    if begun:
        return begun.precision
    return "bfloat16" if device == "cuda" and options.model == "coltran" else "float32"


def _ranking(options: RecipeOptions, begun: Recipe | None) -> str | None:
    """How candidates are ranked. Raises UsageError."""
    if options.rank_by:
        refuse_ranking(options.model, options.rank_by)
        if options.candidates == 1:
            alone = "there is one picture of each photo"
            raise UsageError(f"--rank-by {options.rank_by}: {alone}; --candidates gives more")
    if options.candidates == 1:
        return None
    if begun and begun.candidates > 1 and begun.model == options.model:
        if options.rank_by in (None, begun.rank_by or FORMER):
            return begun.rank_by
    return options.rank_by or DEFAULTS[options.model]


def default_method(model: str, upsampler: str, candidates: int = 1) -> str:
    """mean for one candidate of ColTran's; sample for several, and for what has no mean color."""
    alone = candidates == 1 and model == "coltran" and upsampler == "spatial"
    return "mean" if alone else "sample"


def default_saturation(model: str, method: str) -> float:
    """That of the method; colors of other models are shown as they are."""
    return SATURATIONS[method] if model == "coltran" else 1.0


def method_of(recipe: Recipe) -> "Method":
    """How a run uses the model. Raises UsageError where run.json says what no model can."""
    from model.method import Method
    from pipeline.ledger.palettes import parse_palette  # which needs Pillow

    if recipe.rank_by is not None:
        refuse_ranking(recipe.model, recipe.rank_by)
    if recipe.palette is not None:
        parse_palette(recipe.palette)
    try:
        return Method(recipe.precision, recipe.upsampler, recipe.draft, recipe.saturation)
    except ValueError as error:
        raise UsageError(f"the run's settings cannot work: {error}") from error


def absolute_place(place: str) -> str:
    """A folder as workers find it, whatever theirs is; URIs as they are."""
    return place if "://" in place else str(Path(place).resolve())
