"""The words and looks of the report: HTML from plain values. Reads and writes nothing.

Everything that came from a file name, an error or a setting goes through `text` or `attribute`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

import numpy as np


@dataclass(frozen=True)
class Card:
    """One photograph on the sheet; the pictures are JPEG files, or None where unreadable."""

    photo: str
    path: str  # of the result, relative to the destination
    pictures: tuple[bytes, bytes] | None  # gray, color
    shape: tuple[int, int]  # height, width of both
    scores: str


@dataclass(frozen=True)
class Section:
    heading: str
    remark: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Page:
    """Everything that the page says. Figures are (number, what it counts)."""

    source: str
    finished: str
    figures: Sequence[tuple[str, str]]
    bits: np.ndarray  # bits per pixel of every photograph shown or not
    sections: Sequence[Section]
    left_out: int
    failures: Sequence[tuple[str, str, str]]  # photo, reason, error
    failures_by_reason: Sequence[tuple[str, int]]
    failures_left_out: int
    settings: Sequence[tuple[str, str]]


def render(page: Page) -> str:
    """The whole page as HTML."""
    name = page.source.rstrip("/").rsplit("/", 1)[-1] or page.source
    figures = "".join(
        f"<div><dt>{text(what)}</dt><dd>{text(number)}</dd></div>" for number, what in page.figures
    )
    body = (_likelihoods(page), *map(_section, page.sections), _failures(page), _settings(page))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(name)} · Autochrome contact sheet</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="brand">Autochrome · contact sheet</p>
<h1>{text(name)}</h1>
<p class="source">{text(page.source)}{text(page.finished)}</p>
<dl class="figures">{figures}</dl>
</header>
<main>
{"".join(body)}</main>
<footer>
<p>The colors are the guess of a statistical model, put on the photograph's own luminance. They show
what such a scene may have looked like, not what it did look like.</p>
</footer>
</body>
</html>
"""


def histogram(bits: np.ndarray) -> str:
    """Bits per pixel of all photographs as inline SVG: bars, axis and median."""
    low, high = float(bits.min()), float(bits.max())
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05
    bins = min(60, max(30, 2 * round(len(bits) ** 0.5)))
    counts, edges = np.histogram(bits, bins, (low, high))
    width, height, base = 960, 190, 150

    def x(value: float) -> float:
        return width * (value - low) / (high - low)

    bars = ""
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        tall = 112 * count / max(3, counts.max())
        bars += (
            f'<rect x="{x(left):.1f}" y="{base - tall:.1f}" width="{x(right) - x(left) - 2:.1f}"'
            f' height="{tall:.1f}" rx="1.5">'
            f"<title>{count:,} from {left:.2f} to {right:.2f}</title></rect>"
        )
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if (high - low) / step <= 10)
    ticks = "".join(
        f'<text x="{x(tick):.1f}" y="{base}" dy="1.4em">{tick:.{2 if step < 0.1 else 1}f}</text>'
        for tick in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    )
    median = float(np.median(bits))
    anchor = "start" if x(median) < 120 else "end" if x(median) > width - 120 else "middle"
    summary = f"from {bits.min():.2f} to {bits.max():.2f}, median {median:.2f}"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="Histogram of bits per pixel of {len(bits):,} photographs: {summary}">'
        f'<g class="bars">{bars}</g><path class="axis" d="M0 {base}H{width}"/>'
        f'<path class="median" d="M{x(median):.1f} {base}V26"/>'
        f'<text class="name" style="text-anchor:{anchor}" x="{x(median):.1f}" y="18">'
        f"median {median:.2f}</text>{ticks}</svg>"
    )


def _likelihoods(page: Page) -> str:
    if not len(page.bits):
        return "<section><h2>Pictures</h2><p>No photograph was colorized.</p></section>\n"
    return f"""<section>
<h2>How sure the model was</h2>
<p class="remark">Bits per pixel say how much the drawn colors surprised the model: the fewer, the
likelier; 9 would be a blind guess. Each bar counts photographs.</p>
{histogram(page.bits)}
</section>
"""


def _section(section: Section) -> str:
    cards = "".join(map(_card, section.cards))
    return f"""<section>
<h2>{text(section.heading)}</h2>
<p class="remark">{text(section.remark)}</p>
<ol class="sheet">{cards}</ol>
</section>
"""


def _card(card: Card) -> str:
    folder, _, name = card.photo.rpartition("/")
    pair = '<span class="lost">the picture cannot be read any more</span>'
    if card.pictures is not None:
        pair = "".join(
            f'<img src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}"'
            f' alt="{attribute(name)}, {kind}" width="{card.shape[1]}" height="{card.shape[0]}">'
            for picture, kind in zip(card.pictures, ("gray", "colorized"), strict=True)
        )
    return (
        f'<li><figure><a href="../{attribute(_quoted(card.path))}">{pair}</a>'
        f'<figcaption><b>{text(name)}</b> <span class="folder">{text(folder)}</span>'
        f"<small>{text(card.scores)}</small></figcaption></figure></li>\n"
    )


def _failures(page: Page) -> str:
    if not page.failures:
        return ""
    reasons = ", ".join(
        f"{count:,} {reason.replace('_', ' ')}" for reason, count in page.failures_by_reason
    )
    rows = "".join(
        f"<tr><th scope=row>{text(photo)}<td>{text(reason.replace('_', ' '))}"
        f"<td>{text(error)}</tr>\n"
        for photo, reason, error in page.failures
    )
    more = page.failures_left_out
    rest = f"<p>{more:,} more are in the results, not shown here.</p>" if more else ""
    return f"""<section>
<h2>Not colorized</h2>
<p class="remark">{text(reasons)}. The files themselves are untouched.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Photographs that were not colorized">
<table>
<thead><tr><th scope=col>Photograph<th scope=col>Reason<th scope=col>What happened</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
{rest}</section>
"""


def _settings(page: Page) -> str:
    left_out = ""
    if page.left_out:
        left_out = (
            f"<p>{page.left_out:,} photographs between the most and the least likely are not on"
            " this page. All are in <code>images/</code>, all scores in <code>results/</code>.</p>"
        )
    rows = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in page.settings
    )
    return f"""<section>
<h2>About this run</h2>
{left_out}
<p>The same pictures as one image: <a href="contact-sheet.png">contact-sheet.png</a></p>
<dl class="settings">{rows}</dl>
</section>
"""


def text(value: str) -> str:
    return escape(value.encode("utf-8", "replace").decode(), quote=False)


def attribute(value: str) -> str:
    return escape(value.encode("utf-8", "replace").decode(), quote=True)


def _quoted(path: str) -> str:
    return quote(path.encode("utf-8", "replace"))


STYLE = """
:root {
  --paper: #f7f5f1; --mat: #e9e7e3; --ink: #211f1c; --soft: #67625a; --line: #dcd7ce;
  --accent: #a4602c;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161513; --mat: #0e0d0c; --ink: #ebe6de; --soft: #a59e93; --line: #37332d;
    --accent: #dfa063;
  }
}
* { box-sizing: border-box }
body {
  margin: 0 auto; padding: 0 clamp(1rem, 4vw, 4rem) 4rem; max-width: 110rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 var(--sans);
}
header { padding: clamp(2.5rem, 6vw, 5rem) 0 2rem; border-bottom: 1px solid var(--line) }
.brand {
  margin: 0; color: var(--accent); font-size: .8rem; letter-spacing: .14em;
  text-transform: uppercase;
}
h1, h2 { font-family: var(--serif); font-weight: 400; line-height: 1.15; margin: 0 }
h1 { font-size: clamp(2.2rem, 5vw, 3.6rem); margin: .35rem 0 .5rem; overflow-wrap: anywhere }
h2 { font-size: 1.7rem }
.source { margin: 0; color: var(--soft); overflow-wrap: anywhere }
section { padding-top: 3rem }
.remark { max-width: 46rem; margin: .4rem 0 1.4rem; color: var(--soft) }
a { color: var(--accent) }
a:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px }
dl, dd { margin: 0 }
.figures { display: flex; flex-wrap: wrap; gap: 1.4rem 3rem; margin-top: 2rem }
.figures div { display: flex; flex-direction: column-reverse }
.figures dd { font: 2rem/1.1 var(--serif); font-variant-numeric: lining-nums }
.figures dt { color: var(--soft); font-size: .85rem }
svg {
  display: block; width: 100%; max-width: 60rem; height: auto; overflow: visible;
  font: 13px var(--sans);
}
@media (max-width: 40rem) { svg { font-size: 25px } }
svg text { fill: var(--soft); text-anchor: middle }
svg .name { fill: var(--ink) }
.bars { fill: var(--accent); opacity: .8 }
.axis { stroke: var(--line); stroke-width: 1 }
.median { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3 }
.sheet {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr));
  gap: 2rem 1.6rem; margin: 0; padding: 0; list-style: none;
}
figure { margin: 0 }
figure a {
  display: flex; justify-content: center; align-items: center; gap: 3px; height: 13.5rem;
  padding: .8rem; background: var(--mat); text-decoration: none;
}
figure img {
  display: block; width: auto; height: auto; min-width: 0; max-width: calc(50% - 1.5px);
  max-height: 100%; object-fit: contain;
}
figcaption { padding-top: .55rem; line-height: 1.4; overflow-wrap: anywhere }
figcaption b { font-weight: 600 }
.folder, figcaption small, .lost { color: var(--soft); font-size: .85rem }
figcaption small { display: block; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto }
table { width: 100%; border-collapse: collapse; font-size: .92rem }
th, td {
  padding: .55rem 1.5rem .55rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; font-weight: 400;
}
thead th { color: var(--soft); font-size: .85rem }
tbody th { overflow-wrap: anywhere; min-width: 12rem }
td:nth-child(2) { white-space: nowrap }
.settings {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr));
  gap: 0 2rem;
}
.settings div { padding: .5rem 0; border-bottom: 1px solid var(--line) }
.settings dt { color: var(--soft); font-size: .85rem }
.settings dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
footer { margin-top: 4rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .9rem }
footer p { max-width: 46rem }
@media print { body { background: #fff } li, tr { break-inside: avoid } }
"""
