"""A file beside each picture that says how it was made, as JSON, for those who do not read XMP.

It tells nothing that the picture's row does not, and no time, so that it can be made again from the
row, byte by byte: by another worker after a loss, and by `verify`, which compares.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from pipeline.ledger.recipe import Recipe
from pipeline.metadata.xmp import SOURCE_TYPES

FORMAT = "autochrome-sidecar-1"
_SCORES = (
    *("log_likelihood", "bits_per_pixel", "color_bits_per_dim", "spatial_bits_per_dim"),
    "colorfulness",
)
_LATER_SCORES = ("excess_bits", "mean_distance", "chroma_excess")  # sidecars of old have none


def sidecar_path(image: str) -> str:
    """Where an image's sidecar is; no photograph's own result ends so."""
    return f"{image}.json"


def sidecar_of(row: Mapping[str, Any], image: str, recipe: Recipe) -> bytes:
    """The sidecar of an image, given its path in the destination and its row of the results."""
    content = {
        "format_version": FORMAT,
        "photo": row["photo"],
        "source": _source_of(row),
        "result": _result_of(row, image, recipe),
        "tool": _tool_of(recipe),
        "model": {"name": recipe.model_name, "weights_sha256": recipe.weights},
        "settings": _settings_of(recipe),
        "seed": row["seed"],
        "candidate": row["candidate"],
        "rank": row["rank"],
        "scores": _scores_of(row),
    }
    content |= _told(row)
    if row.get("rank_by"):
        content["rank_by"] = row["rank_by"]
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _source_of(row: Mapping[str, Any]) -> dict[str, Any]:
    pages = {"page": row["page"], "pages": row["pages"]} if (row.get("pages") or 1) > 1 else {}
    return {
        "uri": row["source_uri"],
        "sha256": row["source_sha256"],
        "bytes": row["source_bytes"],
        "width": row["width"],
        "height": row["height"],
        "mode": row["source_mode"],
        "tone": row["source_tone"],
        **pages,
    }


def _result_of(row: Mapping[str, Any], image: str, recipe: Recipe) -> dict[str, Any]:
    return {
        "path": image,
        "sha256": row["output_sha256"],
        "bytes": row["output_bytes"],
        "digital_source_type": SOURCE_TYPES + recipe.digital_source_type,
    }


def _tool_of(recipe: Recipe) -> dict[str, Any]:
    libraries = {name: number for name, number in recipe.versions.items() if name != "autochrome"}
    return {"name": "Autochrome", "version": recipe.version, "libraries": libraries}


def _settings_of(recipe: Recipe) -> dict[str, Any]:
    return {
        "run_seed": recipe.seed,
        "temperature": recipe.temperature,
        "saturation": recipe.saturation,
        "candidates": recipe.candidates,
        "output_size": recipe.output_size,
        "format": recipe.format,
        "mark": recipe.mark,
        **({"watermark": True} if recipe.watermark else {}),  # sidecars of old do not know it
    }


def _scores_of(row: Mapping[str, Any]) -> dict[str, float | None]:
    scores = {name: _finite(row[name]) for name in _SCORES}
    return scores | {name: row[name] for name in _LATER_SCORES if row.get(name) is not None}


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the model knew of colors; nothing where it knew nothing, as in sidecars of old."""
    told: dict[str, Any] = {}
    if row.get("hints"):
        told["hints"] = {"count": row["hints"], "sha256": row["hints_sha256"]}
    if row.get("palette_sha256"):
        told["palette_sha256"] = row["palette_sha256"]
    return told


def _finite(value: float | None) -> float | None:
    """JSON knows no infinity."""
    return value if value is not None and math.isfinite(value) else None
