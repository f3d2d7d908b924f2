"""Weights files: safetensors with the stage and its configuration in the header."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from model.core import ColTranCore, CoreConfig
from model.pic.network import Pic, PicConfig
from model.pic.pixelcnn import PixelCnn, PixelCnnConfig
from model.upsamplers import (
    ColorUpsampler,
    ColorUpsamplerConfig,
    SpatialUpsampler,
    SpatialUpsamplerConfig,
)

Stage = ColTranCore | ColorUpsampler | SpatialUpsampler | Pic | PixelCnn
StageConfig = (
    CoreConfig | ColorUpsamplerConfig | SpatialUpsamplerConfig | PicConfig | PixelCnnConfig
)

STAGES = ("core", "color", "spatial")
MODELS = {"coltran": STAGES, "pic": ("pic",)}  # models that colorize, and their stages
# The configuration and the network of each stage.
NETWORKS: dict[str, tuple[Callable[..., StageConfig], Callable[..., Stage]]] = {
    "core": (CoreConfig, ColTranCore),
    "color": (ColorUpsamplerConfig, ColorUpsampler),
    "spatial": (SpatialUpsamplerConfig, SpatialUpsampler),
    "pic": (PicConfig, Pic),
    "pixelcnn": (PixelCnnConfig, PixelCnn),
}
# Published sizes of stages whose defaults are smaller: those of the largest published network.
PUBLISHED: dict[str, dict[str, object]] = {
    "pic": {
        "form": "published",
        "hidden": 160,
        "inner": 4,
        "mixtures": 10,
        "resolution": 128,
        "factor": 4,
        "dropout": 0.5,
    },
    "pixelcnn": {
        "levels": 3,
        "hidden": 160,
        "inner": 5,
        "mixtures": 10,
        "resolution": 32,
        "dropout": 0.5,
    },
}
TRAINABLE = tuple(NETWORKS)
WEIGHTS = Path(__file__).parent / "weights"
FORMAT = 1
_REPEATS, _FEW = ("enc", "outer", "inner", "levels"), 64  # settings that are numbers of layers
_SMALL = 2**12  # a configuration may have numbers up to this in any file
HEADER = "autochrome"  # a single entry, as safetensors writes several in random order


class WeightsError(ValueError):
    """A weights file that cannot be used; the message is one line that a user can act on."""


def build_config(stage: str, settings: dict[str, object]) -> StageConfig:
    """The configuration of a stage; settings that are absent have the default of its class.

    Raises:
        ValueError: an unknown stage or setting, or a value that cannot be built.
    """
    if stage not in NETWORKS:
        raise ValueError(f"unknown stage {stage!r}; the stages are {', '.join(NETWORKS)}")
    config, _ = NETWORKS[stage]
    known = [field.name for field in fields(config)]  # type: ignore[arg-type]
    unknown = [name for name in settings if name not in known]
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise ValueError(f"unknown setting of {stage}: {names}; known are {', '.join(known)}")
    return config(**settings)


def build_stage(config: StageConfig) -> Stage:
    """Build an untrained stage."""
    network = next(network for kind, network in NETWORKS.values() if kind is type(config))
    return network(config)


def save_stage(model: Stage, path: Path | str, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights of a stage to a safetensors file; dtype bfloat16 halves its size."""
    tensors = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    header = json.dumps({"format": FORMAT, **model.describe()}, sort_keys=True)
    # Not by save_file, which ignores the umask and lets nobody else read the file.
    Path(path).write_bytes(safetensors.torch.save(tensors, metadata={HEADER: header}))


def read_config(path: Path | str) -> tuple[str, StageConfig]:
    """Read the stage and configuration of a weights file from its header alone.

    Raises:
        WeightsError: no such file, not a weights file of Autochrome, or a configuration that cannot
            be built.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except FileNotFoundError as error:
        raise WeightsError(f"no weights file at {path}") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        settings = json.loads(metadata.get(HEADER, "{}"))
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict) or settings.pop("format", None) != FORMAT:
        raise WeightsError(f"{path} is not a weights file of Autochrome in format {FORMAT}")
    try:
        stage = settings.pop("stage", None)
        if not isinstance(stage, str):
            raise ValueError(f"stage {stage!r}")
        _check_sizes(settings, sum(map(math.prod, shapes)))
        _check_repeats(settings, len(shapes))
        return stage, build_config(stage, settings)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise WeightsError(f"{path} has an unusable configuration: {error}") from error


def _check_sizes(settings: object, elements: int) -> None:
    """Raise ValueError for a setting that is larger than the number of weights in the file.

    Otherwise a file of a few bytes could make us allocate any amount of memory.
    """
    inner = settings.values() if isinstance(settings, dict) else settings
    for value in inner if isinstance(inner, Iterable) and not isinstance(inner, str) else ():
        if isinstance(value, int) and abs(value) > max(elements, _SMALL):
            raise ValueError(f"{value:,} is too large for {elements:,} weights")
        _check_sizes(value, elements)


def _check_repeats(settings: dict[str, object], tensors: int) -> None:
    """Raise ValueError for more layers than a file with so many tensors can have."""
    for name in _REPEATS:
        layers = settings.get(name)
        if isinstance(layers, int) and layers > max(tensors, _FEW):
            raise ValueError(f"{layers:,} layers are too many for {tensors:,} tensors")


class _NoRandomStart(TorchFunctionMode):
    """Skip the random initialization of modules.

    On the meta device there are no values to initialize, and asking for them would load PyTorch's
    compiler, which takes more than a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return kwargs["tensor"]
        return func(*args, **kwargs)


def outline_stage(config: StageConfig) -> Stage:
    """A stage without values, on the meta device. Raises ValueError if it cannot be built."""
    try:
        with torch.device("meta"), _NoRandomStart():
            return build_stage(config)
    except (TypeError, RuntimeError, ZeroDivisionError, AssertionError) as error:
        raise ValueError(str(error)) from error


def load_stage(path: Path | str, device: torch.device | str = "cpu") -> Stage:
    """Load a stage from a weights file, in eval mode and float32; every tensor must fit.

    Raises:
        WeightsError: the file cannot be read, or its tensors do not fit its configuration.
    """
    _, config = read_config(path)
    try:
        outline = outline_stage(config)  # nothing is allocated before shapes fit
    except ValueError as error:
        raise WeightsError(f"{path} has an unusable configuration: {error}") from error
    expected = {name: tuple(value.shape) for name, value in outline.state_dict().items()}
    with safetensors.safe_open(path, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            wanted, came = expected.get(name, "no such tensor"), found.get(name, "is missing")
            raise WeightsError(f"{path}: {name} should be {wanted}, found {came}")
    model, tensors = build_stage(config), safetensors.torch.load_file(path)
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.to(device).eval().requires_grad_(False)


def file_digests(folder: Path | str, stages: Iterable[str] = STAGES) -> dict[str, str]:
    """SHA-256, in hexadecimal, of the weights file of each stage in a folder.

    Raises:
        WeightsError: a stage's file is missing or of another stage.
    """
    digests = {}
    for name in stages:
        path = stage_path(folder, name)
        stage, _ = read_config(path)
        if stage != name:
            raise WeightsError(f"{path} holds the stage {stage!r}, not {name!r}")
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def stage_path(folder: Path | str, stage: str) -> Path:
    """Where a folder of weights keeps a stage."""
    return Path(folder) / f"{stage}.safetensors"
