"""The page of an evaluation: pictures beside the truth, bits of all photographs, all figures.

It looks as the contact sheet does, and like it needs no other file and no network.
"""

import base64
from pathlib import Path

import numpy as np

from pipeline.encoding import encode
from pipeline.errors import UsageError
from pipeline.evaluation import Evaluation, Shown
from pipeline.imaging import resize_rgb
from pipeline.report_page import STYLE, attribute, text

_SIDE = 192  # of a picture on the page
_COLORS = ("var(--accent)", "#3f7f93", "#8a8f3a", "#8d6aa8")


def write_page(path: Path, source: str, weights: str, evaluation: Evaluation) -> None:
    """Write the page. Raises UsageError where it cannot be written."""
    page = render(source, weights, evaluation)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def render(source: str, weights: str, evaluation: Evaluation) -> str:
    """The whole page as HTML."""
    rows = "".join(
        f"<div><dt>{text(name.replace('_', ' '))}</dt><dd>{text(_shown(value))}</dd></div>"
        for name, value in evaluation.figures.items()
    )
    notes = "".join(f"<p>{text(note)}</p>" for note in evaluation.notes)
    cards = "".join(map(_card, evaluation.shown))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(source)} · Autochrome evaluation</title>
<link rel="icon" href="data:,">
<style>{STYLE}
.four {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: 3px }}
.four img {{ width: 100%; max-width: none; height: auto }}
.curve {{ fill: none; stroke-width: 2 }}
</style>
</head>
<body>
<header>
<p class="brand">Autochrome · evaluation</p>
<h1>{text(source.rstrip("/").rsplit("/", 1)[-1])}</h1>
<p class="source">{text(source)} · weights {text(weights)}</p>
</header>
<main>
<section>
<h2>Figures</h2>
{notes}
<dl class="settings">{rows}</dl>
</section>
<section>
<h2>Bits per pixel, photograph by photograph</h2>
<p class="remark">Each curve has its photographs in order, from the easiest on the left. The fewer
bits, the better the truth was foreseen; 9 would be a blind guess.</p>
{curves(evaluation.bits)}
</section>
<section>
<h2>Pictures</h2>
<p class="remark">Gray, truth, result, and what the parallel head expects: the mean of all colors
that it finds possible, which is brown where it does not know.</p>
<ol class="sheet">{cards}</ol>
</section>
</main>
</body>
</html>
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


def _card(shown: Shown) -> str:
    gray = np.rint(shown.true @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    kinds = ("gray", "truth", "result", "expectation of the parallel head")
    pictures = ""
    for kind, picture in zip(kinds, (gray, shown.true, shown.result, shown.expected), strict=True):
        data = encode(resize_rgb(picture, (_SIDE, _SIDE)), "JPEG", quality=85)
        pictures += (
            f'<img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}"'
            f' alt="{attribute(kind)}" width="{_SIDE}" height="{_SIDE}">'
        )
    return (
        f'<li><figure><div class="four">{pictures}</div><figcaption><b>{text(shown.name)}</b>'
        f"<small>{text(shown.scores)}</small></figcaption></figure></li>\n"
    )


def _shown(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
