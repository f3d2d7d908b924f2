"""Weights from a folder or a bucket, fetched once per node and checked by digest.

Torch, which model.weights needs, is imported where it is used: readers and writers import this file
too, through pipeline.run.request, and torch would cost each of them seconds.
"""

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from safetensors import safe_open

from pipeline.errors import StorageError, UsageError
from pipeline.storage.open_storage import open_storage
from pipeline.user_folders import cache_folder

_CORE = "core.safetensors"


def shipped_weights() -> str:
    """The folder of the weights that come with Autochrome, found without importing torch."""
    found = find_spec("model")
    assert found and found.origin
    return str(Path(found.origin).parent / "weights")


def fetch_weights(
    place: str, digests: Mapping[str, str] | None = None, stages: Sequence[str] | None = None
) -> Path:
    """The folder of weights; if they are in a bucket, a copy on this machine.

    digests: the required SHA-256 by stage; a copy that matches is reused if only this user can have
    written it. stages: those wanted, by default those of digests, or of ColTran. Raises UsageError
    (files are missing or differ), StorageError.
    """
    from model.weights import STAGES, file_digests

    wanted = stages or tuple(digests or STAGES)
    if "://" not in place:
        return _checked(Path(place), digests, place, wanted)
    copies = cache_folder("weights") or _until_exit()
    if digests is not None:
        kept = copies / _name(digests)
        if kept.is_dir():
            with suppress(UsageError):
                return _checked(kept, digests, place, wanted)
            shutil.rmtree(kept, ignore_errors=True)  # the copy on this machine is damaged
    storage = open_storage(place)
    with tempfile.TemporaryDirectory(dir=copies) as folder:
        fresh = Path(folder, "weights")
        fresh.mkdir()
        for stage in wanted:
            (fresh / f"{stage}.safetensors").write_bytes(storage.read(f"{stage}.safetensors"))
        _checked(fresh, digests, place, wanted)
        found = file_digests(fresh, wanted)
        kept = copies / _name(found)
        try:
            fresh.rename(kept)
        except OSError:  # another process was first, with the same bytes
            _checked(kept, found, place, wanted)
    return kept


def takes_hints(place: str, digests: Mapping[str, str]) -> bool | None:
    """Whether the core of these weights was trained with hints; None if they cannot be found.

    In a folder, only the header of a file is read, which does not need torch.
    """
    if "core" not in digests:
        return False
    try:
        file = (fetch_weights(place, digests) if "://" in place else Path(place)) / _CORE
        if hashlib.sha256(file.read_bytes()).hexdigest() != digests["core"]:
            return None
        with safe_open(file, framework="np") as opened:
            return bool(json.loads(opened.metadata()["autochrome"]).get("hints"))
    except (UsageError, StorageError, OSError):
        return None


def _checked(
    folder: Path, digests: Mapping[str, str] | None, place: str, stages: Sequence[str]
) -> Path:
    """The folder, whose stages have these digests. Raises UsageError where they do not."""
    from model.weights import WeightsError, file_digests

    try:
        found = file_digests(folder, stages)
    except WeightsError as error:
        raise UsageError(str(error)) from error
    for stage, digest in (digests or {}).items():
        if found.get(stage) != digest:
            raise UsageError(
                f"{place} holds another {stage} than the run was started with: SHA-256"
                f" {found.get(stage)}, not {digest}"
            )
    return folder


def _until_exit() -> Path:
    """A temporary folder, for users without a folder of their own; deleted when the process
    ends."""
    folder = tempfile.mkdtemp(prefix="autochrome-weights-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _name(digests: Mapping[str, str]) -> str:
    joined = "".join(digest for _, digest in sorted(digests.items()))
    return hashlib.sha256(joined.encode()).hexdigest()[:32]
