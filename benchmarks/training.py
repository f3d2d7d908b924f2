"""Time training steps of all three stages against the machine's own matrix-product rate.

    python benchmarks/training.py --hidden 128 --resolution 32 --batch 8

A step is everything that training does: crops, forward and backward pass, optimizer, moving
average. The work is that of the matrix products of one step, forward and backward, as PyTorch
counts them; the machine's rate is that of one large product in the same number format and the same
run. Weights and pictures are random, as speed does not depend on them. Prints a table and one JSON
line.
"""

import json

import click
import torch
from work import WorkCounter

from machine import describe_machine, matmul_gflops, seconds_of
from model.training.photographs import Photographs
from model.training.trainer import Optimizer, Trainer, TrainingConfig
from model.weights import STAGES, build_config, build_stage


def measure(trainer: Trainer, side: int, repeats: int, machine: float) -> dict[str, float]:
    """Speed and work of training on random crops of side pixels; machine: its GFLOP/s."""
    batch, crop = trainer.config.batch_size, trainer.config.crop
    rgb = torch.randint(256, (64, round(side / crop), round(side / crop), 3))
    steps = trainer.run(Photographs(rgb.to(torch.uint8), torch.ones(64).double()))
    with WorkCounter() as counter:
        next(steps)
    work = counter.flop / batch / 1e9
    rate = batch / seconds_of(lambda: next(steps), repeats)
    return {
        "images_per_second": rate,
        "gflop_per_image": work,
        "gflops": rate * work,
        "of_matmul": rate * work / machine,
    }


@click.command()
@click.option("--stage", type=click.Choice([*STAGES, "all"]), default="all", show_default=True)
@click.option("--resolution", default=32, show_default=True, help="Of core and color upsampler.")
@click.option("--high-resolution", default=64, show_default=True, help="Of the spatial upsampler.")
@click.option("--hidden", default=128, show_default=True)
@click.option("--ff", default=128, show_default=True)
@click.option("--heads", default=4, show_default=True)
@click.option("--batch", default=8, show_default=True, help="Pictures a step.")
@click.option("--optimizer", type=click.Choice(["rmsprop", "adamw", "muon"]), default="rmsprop")
@click.option("--bfloat16", is_flag=True, help="Mixed precision.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(
    stage: str,
    resolution: int,
    high_resolution: int,
    hidden: int,
    ff: int,
    heads: int,
    batch: int,
    optimizer: Optimizer,
    bfloat16: bool,
    repeats: int,
    device: str,
) -> None:
    """Time training steps against the machine's own matrix-product rate."""
    torch.manual_seed(0)
    machine = matmul_gflops(device, torch.bfloat16 if bfloat16 else torch.float32)
    config = TrainingConfig(10**9, batch, optimizer=optimizer, bfloat16=bfloat16)
    print(f"{'stage':8}{'images/s':>10}{'GFLOP/image':>13}{'GFLOP/s':>10}{'of matmul':>11}")
    results = {}
    for name in STAGES if stage == "all" else (stage,):
        side = high_resolution if name == "spatial" else resolution
        sizes: dict[str, object] = {"hidden": hidden, "ff": ff, "heads": heads, "resolution": side}
        model = build_stage(build_config(name, sizes)).to(device)
        trainer = Trainer(model, config, low_resolution=side // 2)
        found = measure(trainer, side, repeats, machine)
        print("{:8}{:10.2f}{:13.2f}{:10.1f}{:11.1%}".format(name, *found.values()))
        results[name] = {"config": sizes, **found}
    facts = {
        "benchmark": "training",
        "batch": batch,
        "optimizer": optimizer,
        "bfloat16": bfloat16,
        "stages": results,
        "matmul_gflops": machine,
        **describe_machine(device),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
