"use strict";
// Pictures on canvases, cut from the sheets of a shard as they scroll into view.

const CELL = 256;
const COLUMNS = 4;
const CELLS = COLUMNS ** 2;
const MOST_SHEETS = 24; // held; each is 4 MB once it is decoded

const sheets = new Map(); // address -> promise of an image, the last used at the end

function sheetOf(address) {
  const image =
    sheets.get(address) ||
    new Promise((resolve, reject) => {
      const loading = new Image();
      loading.onload = () => resolve(loading);
      loading.onerror = () => reject(new Error(`${address} cannot be read`));
      loading.src = address;
    });
  sheets.delete(address);
  sheets.set(address, image);
  if (sheets.size > MOST_SHEETS) sheets.delete(sheets.keys().next().value);
  return image;
}

function sheetAddress(row, ending) {
  const shard = String(row.shard).padStart(6, "0");
  const sheet = String(Math.floor(row.preview / CELLS)).padStart(3, "0");
  return `previews/shard-${shard}-${sheet}${ending}`;
}

// Left and top of a row's cell in its sheet.
function cellOf(image, row) {
  const [side, cell] = [image.naturalWidth / COLUMNS, row.preview % CELLS];
  return [(cell % COLUMNS) * side, Math.floor(cell / COLUMNS) * side];
}

// Draws a candidate's picture ("color") or its map of uncertainty ("map"); true where it is there.
async function draw(canvas, row, kind = "color") {
  canvas.candidate = row;
  if (row.preview === null) return false;
  const ending = kind === "map" ? ".uncertainty.png" : ".jpg";
  let image;
  try {
    image = await sheetOf(sheetAddress(row, ending));
  } catch {
    canvas.classList.add("lost");
    return false;
  }
  if (canvas.candidate !== row) return false; // another one was asked for meanwhile
  const side = image.naturalWidth / COLUMNS;
  const [width, height] = kind === "map" ? [side, side] : [row.width, row.height];
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.drawImage(image, ...cellOf(image, row), width, height, 0, 0, width, height);
  canvas.classList.remove("lost");
  return true;
}

const waiting = new Map(); // canvas -> row
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting || !waiting.has(target)) continue;
      watcher.unobserve(target);
      draw(target, waiting.get(target));
      waiting.delete(target);
    }
  },
  { rootMargin: "400px" },
);

// A canvas that draws itself once it is nearly in view; what it lies on says what is to be seen.
function lazyPicture(row) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [row.width || 3, row.height || 2];
  canvas.setAttribute("aria-hidden", "true");
  waiting.set(canvas, row);
  watcher.observe(canvas);
  return canvas;
}

function forgetPictures() {
  watcher.disconnect();
  waiting.clear();
}
