"use strict";
// Histograms as SVG: all photographs dim, those that are shown bright.

const BARS = 40;

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function counted(values, least, most) {
  const counts = new Array(BARS).fill(0);
  for (const value of values) {
    const bar = Math.floor((BARS * (value - least)) / (most - least));
    counts[Math.min(BARS - 1, Math.max(0, bar))] += 1;
  }
  return counts;
}

// Draws the values (numbers) of all and of the chosen into a figure's svg.
function drawHistogram(place, all, chosen, what, digits) {
  const [width, height, base] = [300, 92, 74];
  place.replaceChildren();
  if (!all.length) return;
  const sorted = [...all].sort((one, other) => one - other);
  let [least, most] = [sorted[0], sorted[sorted.length - 1]];
  if (most - least < 1e-9) [least, most] = [least - 0.5, most + 0.5];
  const [dim, bright] = [counted(all, least, most), counted(chosen, least, most)];
  const tallest = Math.max(...dim);
  const step = width / BARS;
  const bars = (counts, kind) =>
    counts.map((count, k) => {
      const tall = count ? Math.max(1.5, ((base - 4) * count) / tallest) : 0;
      const place = { x: k * step + 0.5, y: base - tall, width: step - 1, height: tall };
      return svg("rect", { ...place, class: kind });
    });
  const text = (x, anchor, words) =>
    svg("text", { x, y: base + 14, "text-anchor": anchor }, words);
  const middle = sorted[Math.floor(sorted.length / 2)];
  const figures = [least, middle, most].map((value) => value.toFixed(digits));
  place.setAttribute("viewBox", `0 0 ${width} ${height}`);
  place.setAttribute("role", "img");
  place.setAttribute(
    "aria-label",
    `${what} of ${all.length.toLocaleString("en")} photographs, ${chosen.length.toLocaleString("en")}` +
      ` of them shown: from ${figures[0]} to ${figures[2]}, median ${figures[1]}`,
  );
  place.append(
    ...bars(dim, "dim"),
    ...bars(bright, "bright"),
    svg("path", { d: `M0 ${base}H${width}`, class: "axis" }),
    text(0, "start", figures[0]),
    text(width / 2, "middle", `median ${figures[1]}`),
    text(width, "end", figures[2]),
  );
}
