"""The learning curve: a picture for people, event files for TensorBoard.

A row is {"step", "images", "time", "train": {name: bits}, "validation": {name: bits}, "kept"}, one
for each validation; names are parallel and those of stages, time is in seconds since 1970.
"""

import importlib.util
import io
from collections.abc import Sequence
from typing import Any

from pipeline.errors import missing_extra

Row = dict[str, Any]
NEEDED = ("matplotlib", "tensorboard")
_COLORS = {
    "core": "#1f5fa8",
    "parallel": "#c2571a",
    "color": "#2b7a3d",
    "spatial": "#7a3b8f",
    "pic": "#1f5fa8",
    "pixelcnn": "#2b7a3d",
}


def check_packages() -> None:
    """Raise UsageError unless the packages that draw and record curves are installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise missing_extra(f"training needs {names}", "train")


def unit_of(stage: str) -> str:
    """The unit of a stage's loss."""
    return "bits per pixel" if stage in ("core", "pic") else "bits per channel value"


def draw_curve(stage: str, rows: Sequence[Row]) -> bytes:
    """The curve as a PNG: training dashed, validation solid, the best validation marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = [row["step"] for row in rows]
    for name in rows[-1]["train"]:
        color = _COLORS[name]
        values = [row["train"][name] for row in rows]
        axes.plot(steps, values, "--", color=color, alpha=0.6, label=f"{name}, training")
        values = [row["validation"].get(name) for row in rows]
        if None not in values:
            axes.plot(steps, values, "o-", markersize=3, color=color, label=f"{name}, held out")
            best = min(range(len(values)), key=values.__getitem__)
            text = f"{values[best]:.3f}"
            axes.annotate(text, (steps[best], values[best]), (0, 7), textcoords="offset points")
    axes.set_xlabel("step")
    axes.set_ylabel(unit_of(stage))
    axes.set_title(f"{stage}: {rows[-1]['images']:,} images, {len(rows)} validations")
    axes.grid(alpha=0.3)
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def event_file(row: Row) -> tuple[str, bytes]:
    """Name and content of a TensorBoard event file that holds one row.

    TensorBoard reads all files of a folder in the order of their names. Each row is one file, named
    by its step, so that a run that repeats a step overwrites its file.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    values = [
        Summary.Value(tag=f"{name}/{kind}", simple_value=bits)
        for kind in ("train", "validation")
        for name, bits in row[kind].items()
    ]
    file = io.BytesIO()
    records = RecordWriter(file)
    start = Event(wall_time=row["time"], file_version="brain.Event:2")
    scalars = Event(wall_time=row["time"], step=row["step"], summary=Summary(value=values))
    for event in (start, scalars):
        records.write(event.SerializeToString())
    return f"events.out.tfevents.{row['step']:012d}", file.getvalue()
