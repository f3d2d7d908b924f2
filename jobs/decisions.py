"""autochrome evaluate --decisions: which score agrees with what people decided."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.evaluation.decisions import DecisionScores, Share

decisions_option = click.option(
    "--decisions",
    metavar="DST",
    help="Only report which ranking agrees with what people approved, rejected and redid in DST.",
)


def tell_decisions(place: str) -> None:
    """The table for people, and one JSON object. Raises AutochromeError."""
    from pipeline.evaluation.decisions import score_decisions
    from pipeline.ledger.run_file import open_run
    from pipeline.storage.open_storage import open_storage

    destination = open_storage(place)
    found = score_decisions(destination, open_run(destination))
    click.echo(describe(found))
    click.echo(json.dumps({"decisions": asdict(found)}, allow_nan=False))


def describe(found: "DecisionScores") -> str:
    """The table, and what follows from it."""
    lines = [
        f"pictures: {found.approved:,} approved, {found.rejected:,} rejected; pages redone:"
        f" {found.redone:,}; the run ranked by {found.rank_by}",
        "",
        f"{'':<12}{'agreed':>8}{'95 %':>14}{'chance':>8}{'pages':>7}"
        f"{'apart':>10}{'95 %':>14}{'pairs':>9}",
    ]
    for way, each in found.ways.items():
        agreed, apart = each.agreed, each.apart
        cells = f"{_share(agreed)}{_number(agreed.chance):>8}{agreed.count:>7,}"
        cells += f"  {_share(apart)}{apart.count:>9,}" if apart else ""
        lines.append(f"{way:<12}{cells}".rstrip())
    return "\n".join([*lines, "", *_conclusion(found)])


def _share(share: "Share") -> str:
    within = "-" if share.least is None else f"{_number(share.least)} to {_number(share.most)}"
    return f"{_number(share.share):>8}{within:>14}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _conclusion(found: "DecisionScores") -> list[str]:
    lines = [
        "agreed: pages whose first candidate was approved or, where nothing was, not rejected",
        "apart: pairs whose approved picture scores better than one that was rejected or redone",
    ]
    if not any(each.agreed.count for each in found.ways.values()):
        return [*lines, "no page with several candidates was decided about: nothing to choose by"]
    if found.better is None:
        return [*lines, f"no way agrees clearly better than {found.rank_by}"]
    gain = found.ways[found.better].gain
    assert gain is not None
    by, least, most = (f"{100 * each:.0f}" for each in gain)
    words = f"agrees better than {found.rank_by}, by {by} points of 100 ({least} to {most})"
    return [*lines, f"{found.better} {words}: --rank-by {found.better} for the next run"]
