"use strict";
// The colors of the small pictures, as numbers.
//
// Of an image file, a browser tells a page no colors where the page lies on a disk. So sheets are
// there a second time as scripts (previews/*.js, by pipeline/review/previews.py), whose content is
// the page's own. Where a page comes from a server, the image itself does.

const MOST_PIXEL_ROWS = 48; // held
const pixelRows = new Map(); // row -> promise of pixels, the last used at the end
const carried = new Map(); // sheet -> base64 of its JPEG, until it is taken

review.sheet = (name, base64) => carried.set(name, base64);

async function carriedSheet(row) {
  await loadScript(sheetAddress(row, ".js"));
  const name = sheetAddress(row, "").split("/").pop();
  const image = new Image();
  image.src = `data:image/jpeg;base64,${carried.get(name)}`;
  carried.delete(name);
  await image.decode();
  return image;
}

const carriedSheets = new Map(); // address -> promise of an image

function sheetWithColors(row) {
  const address = sheetAddress(row, "");
  if (!carriedSheets.has(address)) carriedSheets.set(address, carriedSheet(row));
  if (carriedSheets.size > 8) carriedSheets.delete(carriedSheets.keys().next().value);
  return carriedSheets.get(address);
}

function cut(image, row) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [row.width, row.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, ...cellOf(image, row), row.width, row.height, 0, 0, row.width, row.height);
  return context.getImageData(0, 0, row.width, row.height); // throws where it may not be known
}

async function readPixels(row) {
  if (location.protocol !== "file:") {
    try {
      return cut(await sheetOf(sheetAddress(row, ".jpg")), row);
    } catch {
      // from another host than the page; then as on a disk
    }
  }
  return cut(await sheetWithColors(row), row);
}

// Pixels (width, height, data) of a row's small picture; null where they cannot be known.
function pixelsOf(row) {
  if (row.preview === null) return Promise.resolve(null);
  const pixels = pixelRows.get(row) || readPixels(row).catch(() => null);
  pixelRows.delete(row);
  pixelRows.set(row, pixels);
  if (pixelRows.size > MOST_PIXEL_ROWS) pixelRows.delete(pixelRows.keys().next().value);
  return pixels;
}

// The mean color at a place (shares of width and height) of pixels, over 3 by 3.
function colorAt({ width, height, data }, x, y) {
  const sums = [0, 0, 0, 0];
  const [column, line] = [Math.floor(x * width), Math.floor(y * height)];
  for (let i = Math.max(0, line - 1); i <= Math.min(height - 1, line + 1); i += 1) {
    for (let j = Math.max(0, column - 1); j <= Math.min(width - 1, column + 1); j += 1) {
      for (let channel = 0; channel < 3; channel += 1) sums[channel] += data[4 * (i * width + j) + channel];
      sums[3] += 1;
    }
  }
  return hexOf(sums.slice(0, 3).map((sum) => Math.round(sum / sums[3])));
}
