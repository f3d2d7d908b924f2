"""autochrome inspect: what pictures say of their making."""

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from jobs.options import complete_folder
from pipeline.errors import AutochromeError, shown_in_line

if TYPE_CHECKING:
    from pipeline.provenance.inspection import Credentials, Inspection
    from pipeline.provenance.rows import FoundRow


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--results",
    metavar="DST",
    shell_complete=complete_folder,
    help="Look the pictures up in the results of DST, by their bytes or their looks.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on one line for each.")
@click.pass_context
def inspect(ctx: click.Context, files: tuple[str, ...], results: str | None, as_json: bool) -> None:
    """Tell what pictures say of their making.

    Checks paths or s3://bucket/key for content credentials (C2PA), XMP with IPTC's digital source
    type, a sidecar, the visible mark and the watermark; with --results, also for the picture's row.

    \b
    Exit codes: 0 all declare that a machine made the color, 1 one or more do not, 2 one or more
    cannot be read.

    \b
    Examples:
      autochrome inspect colored/images/a.jpg
      autochrome inspect downloaded/*.jpg --results s3://archive/colored --json
    """
    found, failed = inspect_all(files)
    if results is not None:
        found = look_up(found, results)
    for each in found:
        click.echo(json.dumps(to_json(each)) if as_json else describe(each))
    for line in failed:
        click.echo(f"autochrome: {shown_in_line(line)}", err=True)
    ctx.exit(2 if failed else int(not all(each.declared_by for each in found)))


def inspect_all(files: tuple[str, ...]) -> tuple[list["Inspection"], list[str]]:
    """Inspections of the pictures that can be read, and a line for each that cannot."""
    from pipeline.provenance.inspection import inspect_file

    found, failed = [], []
    for file in files:
        try:
            found.append(inspect_file(file))
        except AutochromeError as error:
            failed.append(f"{file}: {error}")
    return found, failed


def look_up(found: list["Inspection"], destination: str) -> list["Inspection"]:
    """The same inspections, with the rows of the pictures. Raises AutochromeError."""
    from pipeline.ledger.run_file import open_run
    from pipeline.provenance.rows import find_rows
    from pipeline.storage.open_storage import open_storage

    place = open_storage(destination)
    wanted = [(each.sha256, each.phash, each.watermark) for each in found]
    rows, without = find_rows(place, open_run(place), wanted)
    lacks = (
        f"results: {without:,} rows are older than perceptual hashes, and found by bytes alone",
    )
    return [
        replace(each, rows=its, notes=each.notes + lacks * (without > 0 and not its))
        for each, its in zip(found, rows, strict=True)
    ]


def to_json(found: "Inspection") -> dict[str, object]:
    """The fields of Inspection, and whether and by what a machine's color is declared."""
    by = list(found.declared_by)
    return {**asdict(found), "declared": bool(by), "declared_by": by, "marked": found.marked}


def describe(found: "Inspection") -> str:
    """A few lines for people; text from a file never breaks its line."""
    by = found.declared_by
    lines = [("declared", f"a machine's color, by {', '.join(by)}" if by else "nothing")]
    if found.credentials is not None:
        lines.append(("credentials", describe_credentials(found.credentials)))
    lines += [(f"XMP {name}", value) for name, value in sorted(found.xmp.items())]
    if found.sidecar is not None:
        lines.append(("sidecar", f"of this file; made from {found.sidecar.get('photo')}"))
    if found.marked:
        lines.append(("visible mark", "in the lower right corner"))
    if found.watermark is not None:
        lines.append(("watermark", describe_watermark(found.watermark)))
    lines += [("results", describe_row(row)) for row in found.rows]
    lines += [("note", note) for note in found.notes]
    width = max(len(name) for name, _ in lines)
    told = (f"  {shown_in_line(name):<{width}}  {shown_in_line(value)}" for name, value in lines)
    return "\n".join([shown_in_line(found.file), *told])


def describe_watermark(payload: int) -> str:
    """Its bits of the run, and those of the photo, in hexadecimal digits."""
    from pipeline.provenance.watermark import PHOTO_DIGITS, parts_of

    run, photo = parts_of(payload)
    return f"run {run:02x}; a master whose SHA-256 begins with {photo:0{PHOTO_DIGITS}x}"


def describe_credentials(found: "Credentials") -> str:
    """State, signer, time and what was done, in a line."""
    from pipeline.provenance.inspection import short_term

    wrong = (code for code in found.failures if code != "signingCredential.untrusted")
    states = {
        "Trusted": "valid, the signer is trusted here",
        "Valid": "valid: unchanged since it was signed, by a signer who is unknown here",
        "Invalid": f"INVALID ({', '.join(wrong)})",
    }
    signer = f"signed by {found.signer or 'somebody without a name'}"
    time = "without a time stamp"
    if found.time is not None:
        trusted = "" if found.time_trusted else ", by an authority that is unknown here"
        time = f"time stamp {found.time}{trusted}"
    kinds = ", ".join(map(short_term, found.source_types)) or "no digital source type"
    parts = (states.get(found.state, found.state), signer, time, found.program, kinds)
    return "; ".join(filter(None, parts))


def describe_row(row: "FoundRow") -> str:
    """Which photo it is, how it was found, when it was done, and other facts of the row."""
    how = {
        "digest": "these very bytes",
        "master": "this file is the master",
        "watermark": "has its watermark",
        "looks": f"looks like it ({row.distance} of 64 bits differ)",
    }
    page = f", page {row.page}" if row.page > 1 else ""
    found = f"{row.photo}{page}, candidate {row.candidate}: {how[row.found_by]}"
    return "; ".join(filter(None, (found, row.output_uri, row.finished_at, row.note)))
