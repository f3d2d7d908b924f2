"""Reading checkpoints of TensorFlow, as the published training code writes them."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import UsageError, first_line, missing_extra

_VALUE = [".ATTRIBUTES", "VARIABLE_VALUE"]
_BOOKKEEPING = ("_CHECKPOINTABLE_OBJECT_GRAPH", "optimizer", "save_counter", "step", "global_step")


class Checkpoint(NamedTuple):
    """Variables by name, such as `dense_13/kernel`, and names that are not variables of the
    model."""

    variables: dict[str, np.ndarray]
    dropped: list[str]


def read_checkpoint(path: Path) -> Checkpoint:
    """All variables of a checkpoint; path is its directory, or its prefix (with or without .index).

    Optimizer slots, counters and TensorFlow's own bookkeeping are dropped.

    Raises:
        UsageError: TensorFlow is not installed, there is no checkpoint, or it is damaged.
    """
    # TensorFlow reads these when it is imported: only errors on standard error, and no notice about
    # rounding.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow
    except ImportError as error:
        what = "reading a TensorFlow checkpoint needs TensorFlow"
        raise missing_extra(what, "import") from error
    tensorflow.get_logger().setLevel("ERROR")
    prefix = _find_prefix(path)
    variables, dropped = {}, []
    try:
        reader = tensorflow.train.load_checkpoint(str(prefix))
        for key in sorted(reader.get_variable_to_shape_map()):
            # Dropped variables are read as well: damage is only noticed in what is read.
            value, name = reader.get_tensor(key), _variable_name(key)
            if name is None:
                dropped.append(key)
            else:
                variables[name] = np.asarray(value)
    except Exception as error:  # its reader raises IndexError, RuntimeError, OpError ...
        reason = first_line(error)
        raise UsageError(f"{prefix} is not a readable TensorFlow checkpoint: {reason}") from error
    return Checkpoint(variables, dropped)


def _find_prefix(path: Path) -> Path:
    """The checkpoint that a directory's `checkpoint` file names, or its only one."""
    if not path.is_dir():
        prefix = path.with_suffix("") if path.suffix == ".index" else path
        if not Path(f"{prefix}.index").is_file():
            raise UsageError(f"no TensorFlow checkpoint at {path}: there is no {prefix.name}.index")
        return prefix
    import tensorflow

    if latest := tensorflow.train.latest_checkpoint(str(path)):
        return Path(latest)
    found = sorted(path.glob("*.index"))
    if len(found) != 1:
        names = ", ".join(each.stem for each in found)
        several = f"several checkpoints in {path}, name one of them: {names}"
        raise UsageError(several if found else f"no TensorFlow checkpoint in {path}")
    return found[0].with_suffix("")


def _variable_name(key: str) -> str | None:
    """`a.Sdense_13.Skernel:0/.ATTRIBUTES/VARIABLE_VALUE` -> `a/dense_13/kernel`; None: no variable.

    TensorFlow writes "/" inside a name as ".S" and "." as "..".
    """
    head, *rest = key.split("/")
    if head in _BOOKKEEPING or ".OPTIMIZER_SLOT" in rest:
        return None
    if rest != _VALUE:
        return key
    return head.replace("..", "\0").replace(".S", "/").replace("\0", ".").removesuffix(":0")
