"""The recipe of a run: every setting that decides its pictures and their names.

`run.json` holds it, and a resume compares it. What a command may change between two starts of one
destination (device, batch size, number of actors) is no part of it: see pipeline.run.options.
"""

from dataclasses import dataclass

MODEL_NAMES = {"coltran": "ColTran", "pic": "PIC"}
FORMATS = ("auto", "jpeg", "png", "tiff", "webp", "jp2", "avif")
PAGES = ("first", "all")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The settings that a recipe takes over as they were given.

    seed: 0..2^63 - 1. candidates: pictures of each photo. output_size: "full", or the longer side
    in pixels. format: one of FORMATS. include, exclude: patterns of paths, as in a shell, but for
    `*`, which matches "/" too. recolor: photographs in color are colorized, too. pages: of a TIFF,
    one of PAGES. digital_source_type: a term of IPTC's, written into each picture. sidecar: a JSON
    file beside each picture. mark: a visible one in each picture. watermark: an imperceptible one,
    in its chroma. model: one of MODEL_NAMES. limit: only so many photos, the first of the listing;
    None: all.
    """

    seed: int = 0
    candidates: int = 1
    output_size: str = "full"
    format: str = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recolor: bool = False
    pages: str = "first"
    digital_source_type: str = "compositeWithTrainedAlgorithmicMedia"
    sidecar: bool = False
    mark: bool = False
    watermark: bool = False
    model: str = "coltran"
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe(Choices):
    """All that decides the pictures and their names; the defaults are those of older run.json.

    source: URI. weights: SHA-256 by stage. versions: of what decides bytes. manifest: SHA-256 of
    the list of photos; None where the source was listed. temperature, precision, upsampler, draft,
    saturation: as in model.method.Method. content_credentials: pictures are signed, whoever's
    certificate it is. hints: SHA-256 of those in the plan, see ledger.hints. palette: that of all
    photos, see ledger.palettes. rank_by: how candidates are ranked, see ledger.ranking; None where
    a run has but one of each photo, or is older than the choice. model_name: what sidecars call the
    model; those of old call every model ColTran.
    """

    source: str
    weights: dict[str, str]
    versions: dict[str, str]
    temperature: float = 1.0
    manifest: str | None = None
    precision: str = "float32"
    upsampler: str = "spatial"
    draft: bool = False
    saturation: float = 1.0
    content_credentials: bool = False
    hints: str | None = None
    palette: str | None = None
    rank_by: str | None = None
    model_name: str = MODEL_NAMES["coltran"]

    @property
    def version(self) -> str:
        """Of Autochrome; empty where run.json does not tell."""
        return self.versions.get("autochrome", "")


# What run.json has held from the first: without one of these, it is damaged.
ALWAYS_FROZEN = frozenset(
    ("source", "seed", "temperature", "candidates", "output_size", "format", "weights", "versions")
)
