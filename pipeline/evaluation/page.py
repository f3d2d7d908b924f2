"""The page of an evaluation: pictures beside the truth, bits of all photographs, all figures.

It needs no other file and no network.
"""

import base64
from html import escape
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.figures import Evaluation, Figures, Shown
from pipeline.images.chroma import LUMA
from pipeline.images.encoding import encode
from pipeline.images.pictures import resize_rgb

_SIDE = 192  # of pictures on the page, in pixels
_COLORS = ("var(--accent)", "#3f7f93", "#8a8f3a", "#8d6aa8")


_OF_EXAMPLES = """By CIEDE2000, of all pictures or of each group. Gray, truth, result, and what the
parallel head expects."""
_OF_PICTURES = """Gray, truth, result, and what the parallel head expects: the mean of all colors
that it finds possible, which is brown where it does not know."""


def write_page(path: Path, source: str, weights: str, evaluation: Evaluation) -> None:
    """Write the page. Raises UsageError if it cannot be written."""
    page = render(source, weights, evaluation)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def render(source: str, weights: str, evaluation: Evaluation) -> str:
    """The whole page as HTML."""
    examples = "".join(_card(shown, words) for words, shown in evaluation.examples)
    pictures = "".join(map(_card, evaluation.shown))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(source)} · Autochrome evaluation</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="brand">Autochrome · evaluation</p>
<h1>{text(source.rstrip("/").rsplit("/", 1)[-1])}</h1>
<p class="source">{text(source)} · weights {text(weights)}</p>
</header>
<main>
{_figures(evaluation)}{_bits(evaluation.bits)}{_groups(evaluation.groups)}{
        _sheet("Best, median and worst", _OF_EXAMPLES, examples)
    }{_sheet("Pictures", _OF_PICTURES, pictures)}</main>
</body>
</html>
"""


def _figures(evaluation: Evaluation) -> str:
    """All figures, and the notes on them."""
    notes = "".join(f"<p>{text(note)}</p>" for note in evaluation.notes)
    rows = "".join(
        f"<div><dt>{text(name.replace('_', ' '))}</dt><dd>{text(_shown(value))}</dd></div>"
        for name, value in evaluation.figures.items()
    )
    return f'<section>\n<h2>Figures</h2>\n{notes}\n<dl class="settings">{rows}</dl>\n</section>\n'


def _bits(bits: dict[str, np.ndarray]) -> str:
    """The curves, and what they say."""
    return f"""<section>
<h2>Bits per pixel, photograph by photograph</h2>
<p class="remark">Each curve has its photographs in order, from the easiest on the left. The fewer
bits, the better the truth was foreseen; 9 would be a blind guess.</p>
{curves(bits)}
</section>
"""


def _sheet(title: str, remark: str, cards: str) -> str:
    """Photographs, each with its pictures side by side."""
    return f"""<section>
<h2>{title}</h2>
<p class="remark">{remark}</p>
<ol class="sheet">{cards}</ol>
</section>
"""


def curves(bits: dict[str, np.ndarray]) -> str:
    """Sorted bits per pixel of all photographs, a line for each name, as inline SVG."""
    width, height, base = 960, 330, 290
    top = max(0.1, *(float(np.quantile(each, 0.995)) for each in bits.values()))
    lines = ""
    for number, (name, values) in enumerate(bits.items()):
        quantiles = np.quantile(values, np.linspace(0, 1, 101))
        points = " ".join(
            f"{width * place / 100:.1f},{base - 270 * min(value, top) / top:.1f}"
            for place, value in enumerate(quantiles)
        )
        color = _COLORS[number % len(_COLORS)]
        lines += (
            f'<polyline class="curve" stroke="{color}" points="{points}"/>'
            f'<text style="text-anchor:start;fill:{color}" x="12" y="{30 + 20 * number}">'
            f"{text(name)}, mean {values.mean():.2f}</text>"
        )
    step = next((step for step in (0.1, 0.2, 0.5, 1.0) if top / step <= 8), 2.0)
    ticks = "".join(
        f'<text x="-6" y="{base - 270 * tick / top:.1f}" style="text-anchor:end">{tick:.1f}</text>'
        for tick in np.arange(0, top, step)
    )
    names = ", ".join(bits)
    return (
        f'<svg viewBox="-40 0 {width + 40} {height}" role="img"'
        f' aria-label="Sorted bits per pixel of all photographs: {attribute(names)}">'
        f'<path class="axis" d="M0 {base}H{width}"/>{ticks}{lines}</svg>'
    )


def _groups(groups: dict[str, Figures]) -> str:
    """A table of the figures of each group; nothing without groups."""
    if not groups:
        return ""
    names = list(next(iter(groups.values())))
    head = "".join(f"<th>{text(name.replace('_', ' '))}</th>" for name in ("", *names))
    rows = "".join(
        f"<tr><th>{text(group)}</th>"
        + "".join(f"<td>{text(_shown(figures[name]))}</td>" for name in names)
        + "</tr>"
        for group, figures in groups.items()
    )
    table = f'<table class="groups"><tr>{head}</tr>{rows}</table>'
    return f"<section>\n<h2>Groups</h2>\n{table}\n</section>\n"


def _card(shown: Shown, words: str = "") -> str:
    gray = np.rint(shown.true @ LUMA).astype(np.uint8)
    kinds = ("gray", "truth", "result", "expectation of the parallel head")
    pictures = ""
    for kind, picture in zip(kinds, (gray, shown.true, shown.result, shown.expected), strict=True):
        data = encode(resize_rgb(picture, (_SIDE, _SIDE)), "JPEG", quality=85)
        pictures += (
            f'<img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}"'
            f' alt="{attribute(kind)}" width="{_SIDE}" height="{_SIDE}">'
        )
    return (
        f'<li><figure><div class="four">{pictures}</div><figcaption>'
        f"<b>{text(words and f'{words}: ')}{text(shown.name)}</b>"
        f"<small>{text(shown.scores)}</small></figcaption></figure></li>\n"
    )


def _shown(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def text(value: str) -> str:
    return escape(value.encode("utf-8", "replace").decode(), quote=False)


def attribute(value: str) -> str:
    return escape(value.encode("utf-8", "replace").decode(), quote=True)


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
dl, dd { margin: 0 }
svg {
  display: block; width: 100%; max-width: 60rem; height: auto; overflow: visible;
  font: 13px var(--sans);
}
@media (max-width: 40rem) { svg { font-size: 25px } }
svg text { fill: var(--soft); text-anchor: middle }
.axis { stroke: var(--line); stroke-width: 1 }
.sheet {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr));
  gap: 2rem 1.6rem; margin: 0; padding: 0; list-style: none;
}
figure { margin: 0 }
figure img { display: block }
figcaption { padding-top: .55rem; line-height: 1.4; overflow-wrap: anywhere }
figcaption b { font-weight: 600 }
figcaption small { color: var(--soft); font-size: .85rem }
figcaption small { display: block; font-variant-numeric: tabular-nums }
.settings {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr));
  gap: 0 2rem;
}
.settings div { padding: .5rem 0; border-bottom: 1px solid var(--line) }
.settings dt { color: var(--soft); font-size: .85rem }
.settings dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
footer { margin-top: 4rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .9rem }
footer p { max-width: 46rem }
@media print { body { background: #fff } li { break-inside: avoid } }

.four { display: grid; grid-template-columns: repeat(4, 1fr); gap: 3px }
.four img { width: 100%; max-width: none; height: auto }
.curve { fill: none; stroke-width: 2 }
.groups { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem }
.groups th, .groups td { padding: .3rem .7rem; text-align: right; font-weight: 400 }
.groups tr { border-bottom: 1px solid var(--line) }
"""
