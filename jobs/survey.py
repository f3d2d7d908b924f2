"""What `autochrome colorize --dry-run` says."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from jobs.progress import describe_duration, say
from pipeline.errors import shown_lines

if TYPE_CHECKING:
    from pipeline.run.survey import Pilot, Survey

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def workers_here(device: str) -> tuple[int, str]:
    """How many actors this machine would have, and of what."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.device_count(), "GPU"
    return len(os.sched_getaffinity(0)), "core"


def tell_survey(
    ctx: click.Context,
    found: "Survey",
    destination: str,
    workers: tuple[int, str],
    price_per_hour: float | None,
) -> None:
    """Say it in words, or as one object."""
    count, _ = workers
    seconds = found.left * found.pilot.seconds / count if found.pilot else 0.0
    cost = None if price_per_hour is None else seconds / 3600 * price_per_hour
    lines = describe_survey(found, destination, workers, seconds, cost)
    facts = {**asdict(found), "seconds_left": seconds, "cost": cost}
    say(ctx, shown_lines(lines), "dry_run", **facts)


def describe_survey(
    found: "Survey",
    destination: str,
    workers: tuple[int, str],
    seconds: float,
    cost: float | None,
) -> list[str]:
    """What a dry run has found, and what the run would take. workers: number and kind."""
    from pipeline.ledger.choosing import describe_ignored

    formats = sorted(found.formats.items(), key=lambda item: (-item[1][0], item[0]))
    lines = [
        f"{describe_photos(found.photos)} in {found.source}, {describe_bytes(found.size)}",
        *(f"  {count:,} {kind}, {describe_bytes(size)}" for kind, (count, size) in formats),
    ]
    if found.ignored:
        lines.append(describe_ignored(found.ignored))
    lines.append(f"{found.done:,} done in {destination}, {found.left:,} to do")
    if found.unplanned:
        lines.append(describe_unplanned(found.unplanned))
    if found.pilot:
        lines.append(describe_pilot(found.pilot))
        if sum(found.pilot.reasons.values()) == found.pilot.photos:
            return [*lines, "no estimate: none of these became a picture", "nothing was written"]
        count, kind = workers
        plural = "" if count == 1 else "s"
        size = round(found.pilot.bytes_out * found.size * found.left / found.photos)
        lines.append(
            f"about {describe_duration(seconds)} on {count} {kind}{plural} of this machine,"
            f" without the start, {describe_bytes(size)} of pictures"
        )
    if cost is not None:
        lines.append(f"about {cost:,.2f} at that price")
    return [*lines, "nothing was written"]


def describe_pilot(pilot: "Pilot") -> str:
    words = f"tried {pilot.photos:,} of them: {pilot.seconds:.2f} s each"
    failed = ", ".join(f"{number:,} {reason}" for reason, number in pilot.reasons.items())
    return f"{words}; failed: {failed}" if failed else words


def describe_photos(photos: int) -> str:
    return f"{photos:,} photo{'' if photos == 1 else 's'}"


def describe_unplanned(photos: int) -> str:
    one = photos == 1
    return (
        f"{describe_photos(photos)} of the source {'is' if one else 'are'} not in the"
        f" plan: --update adds {'it' if one else 'them'}"
    )


def describe_bytes(count: int) -> str:
    """`0 B`, `3.1 MB`: decimal units, as stores reckon."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.5 else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"
