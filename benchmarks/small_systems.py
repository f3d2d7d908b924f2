"""Small versions of the systems of docs/models.md, and their common training.

All learn from the same crops. The photo trunk of a system that has one keeps the weights of its
package.

Legend: B batch, S side of the photographs that a trunk sees.
"""

import time
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from model.core import ColTranCore, CoreConfig
from model.pic.network import PicConfig
from model.pic.pixelcnn import PixelCnnConfig
from model.scaling import scale_by_area
from model.training.photographs import Photographs, fit_histogram
from model.training.trainer import Trainer, TrainingConfig, seen_resolution, trunk_of
from model.trunk import Trunk
from model.weights import Stage, StageConfig, build_stage
from pipeline.training.photographs import Wanted, read_photographs
from pipeline.training.request import balanced_weights, pretrained_trunk

RESOLUTION = 16  # of the color that is drawn
SEEN, SIDE = 128, 144  # of the gray that PIC and trunks see; of the photographs before cropping
CHROMA = PicConfig(hidden=56, enc=6, inner=2, resolution=SEEN, factor=SEEN // RESOLUTION)
CORE = CoreConfig(hidden=96, ff=192, heads=4, enc=2, outer=1, inner=1, resolution=RESOLUTION)
TRUNK: Trunk = "efficientnet_lite0"
SYSTEMS: dict[str, StageConfig] = {
    "PixelCNN++": PixelCnnConfig(hidden=56, inner=2, resolution=RESOLUTION),
    "Axial Transformer": replace(CORE, enc=1, unconditional=True),
    "PIC": CHROMA,
    "PIC + trunk": replace(CHROMA, trunk=TRUNK),
    "core": CORE,
    "core + trunk": replace(CORE, trunk=TRUNK),
    # As the recipe of docs/training.md starts it; PIC has no such table.
    "core + table": replace(CORE, histogram=True),
    "core + table + trunk": replace(CORE, histogram=True, trunk=TRUNK),
}


def read_training(source: str, limit: int, split_column: str | None) -> Photographs:
    """Whole photographs; large sets of a source that has sets come less often than their size."""
    groups = "set" if split_column else None
    wanted = Wanted(SIDE, "train", limit, split_column=split_column, group_column=groups)
    found = read_photographs(source, wanted)
    return Photographs(torch.from_numpy(found.rgb), balanced_weights(found.groups, 0.5))


def new_stage(name: str) -> Stage:
    """A system before training."""
    torch.manual_seed(0)
    stage = build_stage(SYSTEMS[name])
    if trunk := trunk_of(stage):
        trunk.load_state_dict(pretrained_trunk(trunk.name).state_dict())
    return stage


def train(
    name: str, photographs: Photographs, images: int, batch: int
) -> tuple[Stage, dict[str, float]]:
    """The moving average of one system's weights, and its seconds and last losses."""
    settings = TrainingConfig(
        images // batch,
        batch,
        learning_rate=3e-3,
        optimizer="muon",
        schedule="linear",
        warmup=50,
        high_resolution=SEEN,
        autoregressive_weight=1.0,
        parallel_weight=0.5,
        average_decay=0.998,
        bfloat16=True,
    )
    stage = new_stage(name)
    if isinstance(stage, ColTranCore) and stage.config.histogram:
        fit_histogram(stage, photographs)
    trainer = Trainer(stage, settings)
    started, reported = time.monotonic(), time.monotonic()
    losses: dict[str, float] = {}
    while trainer.step < settings.steps:
        # Drawn at the largest size for all: which crops there are depends on the size.
        generator = torch.Generator().manual_seed(trainer.step)
        crops = photographs.crops(SEEN, settings.crop, batch, generator)
        losses = trainer.train_on(as_seen(trainer.model, crops), generator)
        if time.monotonic() - reported > 20:
            reported = time.monotonic()
            print(f"  {name}: step {trainer.step} of {settings.steps}, {losses}", flush=True)
    return trainer.average, {"seconds": time.monotonic() - started, **losses}  # type: ignore[return-value]


def as_seen(stage: torch.nn.Module, rgb_BSS3: Tensor) -> Tensor:
    """Photographs at the size on which a system's losses are computed."""
    config = cast(Stage, stage).config
    side = seen_resolution(config, TrainingConfig(1, 1, high_resolution=SEEN))
    return scale_by_area(rgb_BSS3, side)
