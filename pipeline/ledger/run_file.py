"""run.json: what a run was asked for and how much there is to do, frozen when it is planned.

It is written last and only if absent, so that it commits the plan: a destination without it has no
plan yet. Where it is there already, the frozen plan counts and the source is not listed again; the
shard size of a later command then has no effect (pictures do not depend on it). Settings that a
command may change between runs of one destination (device, batch size, progress) are no part of it;
a difference in any that decides pictures or names is refused.
"""

import hashlib
import json
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any

from pipeline.errors import ObjectMissing, StorageError, UsageError
from pipeline.ledger.recipe import ALWAYS_FROZEN, FORMATS, PAGES, Recipe
from pipeline.storage.base import Storage

RUN = "run.json"
FORMAT = "autochrome-run-2"
_LONGEST_VALUE = 2000  # of a setting in a message
_HALVES = re.compile("[\ud800-\udfff]")  # of characters, which JSON can hold and no file
# What settings may be; model.method and ledger.ranking tell it of the others.
_TEXTS = {
    "format": "|".join(FORMATS),
    "output_size": "full|[1-9][0-9]{0,5}",
    "pages": "|".join(PAGES),
    "digital_source_type": "[A-Za-z]+",
}
_MANY = 2**62
_NUMBERS: dict[str, tuple[float, float]] = {
    "candidates": (1, 1000),
    "limit": (1, _MANY),
    "temperature": (0, 10),
    "saturation": (0, 4),
    **dict.fromkeys(("photos", "shards", "shard_size", "shards_per_part"), (1, _MANY)),
    "least_shard": (1, _MANY),
}


@dataclass(frozen=True)
class Plan:
    """How much there is to do, without photos that were added later.

    ignored: counts of files that were listed and not planned, by suffix, or "hidden", "filtered",
    "repeated". digests: SHA-256 of each part. least_shard: photos of a shard where few are added;
    None, if shards did not grow: shard_size.
    """

    photos: int
    shards: int
    shard_size: int
    shards_per_part: int
    digests: tuple[str, ...]
    ignored: dict[str, int]
    least_shard: int | None = None

    @property
    def shard_sizes(self) -> tuple[int, int]:
        """Photos of a shard that is added: where they are few, and at most."""
        return self.least_shard or self.shard_size, self.shard_size

    def photos_in(self, shards: AbstractSet[int]) -> int:
        """How many photos of the original plan are in these shards."""
        own = sum(1 for shard in shards if shard < self.shards)
        missing = self.shards * self.shard_size - self.photos  # of the last
        return self.shard_size * own - missing * (self.shards - 1 in shards)

    def shards_of(self, part: int) -> range:
        first = part * self.shards_per_part
        return range(first, min(first + self.shards_per_part, self.shards))


@dataclass(frozen=True)
class Run:
    """A frozen run; digest is the SHA-256 of its run.json."""

    recipe: Recipe
    plan: Plan
    digest: str


def current_versions() -> dict[str, str]:
    """Versions of the packages that compute and encode, without "+cpu" and the like, which depend
    on the device."""
    names = ("autochrome", "imagecodecs", "pillow", "tifffile", "torch")
    return {name: version(name).partition("+")[0] for name in names}


def load_run(destination: Storage) -> Run | None:
    """The run of a destination; None if there is none yet. Raises StorageError."""
    try:
        data = destination.read(RUN)
    except ObjectMissing:
        return None
    try:
        content = json.loads(data)
        if content.pop("format_version") != FORMAT:
            raise ValueError("of another version")
        plan = Plan(**_with_tuples(Plan, content.pop("plan")))
        if missing := sorted(ALWAYS_FROZEN - content.keys()):
            raise ValueError(f"no {missing[0]}")
        if unknown := sorted(content.keys() - {each.name for each in fields(Recipe)}):
            raise ValueError(f"of a newer version, which knows {unknown[0]!r}")
        recipe = Recipe(**_with_tuples(Recipe, content))
        _check_values(recipe, plan)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        uri = destination.uri_of(RUN)
        raise StorageError(f"{uri} is not a run of Autochrome: {cause[:200]}") from error
    return Run(recipe, plan, hashlib.sha256(data).hexdigest())


def open_run(destination: Storage) -> Run:
    """The run of a destination that must have one. Raises UsageError, StorageError."""
    run = load_run(destination)
    if run is None:
        raise UsageError(f"{destination.uri} holds no run of Autochrome: it has no run.json")
    return run


def _check_values(recipe: Recipe, plan: Plan) -> None:
    """Raise ValueError if a value has the wrong type, or is one that no command takes."""
    for record in (recipe, plan):
        for each in fields(record):
            kind = each.type if isinstance(each.type, str) else _kind_name(each.type)
            value = getattr(record, each.name)
            if not _is_sound(kind, value) or not _is_allowed(each.name, value):
                raise ValueError(f"{each.name} is {value!r}"[:100])
    shards = -(-plan.photos // plan.shard_size)
    if plan.shards != shards or len(plan.digests) != -(-shards // plan.shards_per_part):
        raise ValueError("its plan does not add up")


def _is_sound(kind: str, value: Any) -> bool:
    """Whether a value is of the type that a record declares, and all of its text is text."""
    if kind.endswith(" | None") and value is None:
        return True
    kind = kind.removesuffix(" | None")
    if kind == "tuple[str, ...]":
        return isinstance(value, tuple) and all(_is_sound("str", part) for part in value)
    if kind.startswith("dict[str, "):
        inner = kind.removeprefix("dict[str, ").removesuffix("]")
        parts = value.items() if isinstance(value, dict) else [("", None)]
        return all(_is_sound("str", name) and _is_sound(inner, part) for name, part in parts)
    if kind == "str":
        return isinstance(value, str) and not _HALVES.search(value)
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    return isinstance(value, int if kind == "int" else int | float)


def _is_allowed(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return bool(re.fullmatch(_TEXTS[name], value))
    least, most = _NUMBERS.get(name, (None, None))
    return least is None or value is None or least <= value <= most


def _kind_name(kind: Any) -> str:
    return kind.__name__ if kind.__class__ is type else str(kind)


def _with_tuples(kind: Any, content: dict[str, Any]) -> dict[str, Any]:
    """Turn JSON's lists into the tuples that a record's fields declare."""
    tuples = {field.name for field in fields(kind) if "tuple" in str(field.type)}
    return {name: tuple(value) if name in tuples else value for name, value in content.items()}


def differences(was: dict[str, Any], now: dict[str, Any], above: str = "") -> list[str]:
    """One line for each setting that differs: `weights.core: was X, now Y`."""
    lines = []
    for name in sorted(was.keys() | now.keys()):
        old, new = was.get(name, "absent"), now.get(name, "absent")
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{above}{name}.")
        elif old != new:
            lines.append(f"{above}{name}: was {_brief(old)}, now {_brief(new)}")
    return lines


def _brief(value: Any) -> str:
    """A value for messages; a long one is cut, with a digest to tell it from others."""
    text = str(value)
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:40]}... (SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]})"
