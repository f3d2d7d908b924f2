"use strict";
// Colors: as text, by name, and the main ones of a picture. rgb: [r, g, b], each 0..255.

const hexOf = (rgb) => `#${rgb.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
const rgbOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

// "#rrggbb" of what somebody has typed ("AABBCC", "#abc"); null where that is no color.
function parseHex(text) {
  const found = /^#?([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text.trim());
  if (!found) return null;
  const digits = found[1].toLowerCase();
  return `#${digits.length === 6 ? digits : [...digits].map((digit) => digit + digit).join("")}`;
}

// Oklab (Björn Ottosson): lightness 0..1, and two axes of color around 0.
function oklabOf(rgb) {
  const [r, g, b] = rgb.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

const HUES = [ // where each ends, in degrees of Oklab
  [12, "pink"], [36, "red"], [82, "orange"], [116, "yellow"], [162, "green"],
  [215, "blue-green"], [284, "blue"], [318, "violet"], [350, "magenta"], [361, "pink"],
];

// What a color is called by those who cannot see it, as "dark blue" or "grayish brown".
function colorName(hex) {
  const [lightness, a, b] = oklabOf(rgbOf(hex));
  const chroma = Math.hypot(a, b);
  if (lightness < 0.12) return "black";
  if (chroma < 0.018) {
    if (lightness > 0.97) return "white";
    return lightness < 0.4 ? "dark gray" : lightness > 0.78 ? "light gray" : "gray";
  }
  const degrees = ((Math.atan2(b, a) * 180) / Math.PI + 360) % 360;
  let hue = HUES.find(([end]) => degrees < end)[1];
  const dark = { orange: "brown", yellow: "olive", pink: "red" };
  if (lightness < 0.62) hue = dark[hue] || hue;
  const tone = lightness < 0.42 ? "dark " : lightness > 0.8 ? "light " : "";
  return `${tone}${chroma < 0.05 ? "grayish " : ""}${hue}`;
}

// The hexadecimal colors that a picture (pixels of a canvas: r, g, b, alpha) is mostly made of,
// each unlike those before it. Strong colors count for more than their share: they are looked for.
function mainColors(pixels, count = 8) {
  const bins = new Map(); // of 32 levels -> [r, g, b, n], sums
  for (let k = 0; k < pixels.length; k += 4) {
    const bin = ((pixels[k] >> 3) << 10) | ((pixels[k + 1] >> 3) << 5) | (pixels[k + 2] >> 3);
    const sums = bins.get(bin) || [0, 0, 0, 0];
    for (let channel = 0; channel < 3; channel += 1) sums[channel] += pixels[k + channel];
    sums[3] += 1;
    bins.set(bin, sums);
  }
  const colors = [...bins.values()].map((sums) => {
    const rgb = sums.slice(0, 3).map((sum) => Math.round(sum / sums[3]));
    const lab = oklabOf(rgb);
    return { rgb, lab, weight: sums[3] * (0.2 + 8 * Math.hypot(lab[1], lab[2])) };
  });
  const chosen = [];
  while (chosen.length < count) {
    let best = null;
    for (const color of colors) {
      if (color.weight > (best?.weight ?? 0)) best = color;
    }
    if (!best) break;
    chosen.push(best);
    for (const color of colors) { // what is like it counts less, or not at all
      const away = Math.hypot(...color.lab.map((value, k) => (k ? 2 : 1) * (value - best.lab[k])));
      color.weight *= away < 0.08 ? 0 : 1 - Math.exp(-((away / 0.2) ** 2));
    }
  }
  return chosen.map(({ rgb }) => hexOf(rgb));
}
