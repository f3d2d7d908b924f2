"use strict";
// All photos of a run. The files data/*.js call `review`, because pages on a disk may not fetch.
//
// Where all pages of files are done, each is a photo of its own here; siblings: by path, its pages;
// before: of photos that were redone, by key, the picture that they had.

const catalog = { run: null, photos: [], siblings: new Map(), details: new Map(), before: new Map() };

const review = {
  run(value) {
    catalog.run = value;
  },
  rows(chunk, rows) {
    let photo = null;
    rows.forEach((values, place) => {
      const row = { chunk, place };
      catalog.run.fields.forEach((field, k) => (row[field] = values[k]));
      if (photo === null || photo.path !== row.photo || photo.page !== row.page) {
        photo = newPhoto(row);
        catalog.photos.push(photo);
        if (!catalog.siblings.has(photo.path)) catalog.siblings.set(photo.path, []);
        catalog.siblings.get(photo.path).push(photo);
      }
      photo.candidates.push(row);
    });
  },
  details(chunk, rows) {
    catalog.details.set(chunk, rows);
  },
  before(rows) {
    for (const [path, page, attempt, shard, preview, width, height] of rows) {
      catalog.before.set(keyOf(path, page), { attempt, shard, preview, width, height });
    }
  },
  selection(choices) {
    choices.forEach((choice) => decisions.keep(...choice));
  },
};

function newPhoto(row) {
  const cut = row.photo.lastIndexOf("/");
  const folder = row.photo.slice(0, Math.max(0, cut));
  const name = row.photo.slice(cut + 1);
  const { page } = row;
  return { path: row.photo, page, folder, name, text: row.photo.toLowerCase(), candidates: [] };
}

// What decisions about a photo are kept under.
const keyOf = (path, page) => (page > 1 ? `${path}\0${page}` : path);

// The candidate of rank 1 stands for its photo; one that failed decides about its status.
function finishPhoto(photo) {
  photo.candidates.sort((one, other) => (one.rank ?? 1e9) - (other.rank ?? 1e9));
  const failed = photo.candidates.find((row) => row.status === "failed");
  photo.shown = photo.candidates[0];
  const { status, reason, error } = failed || photo.shown;
  const { bits, colorfulness, attempt } = photo.shown;
  Object.assign(photo, { status, reason, error, bits, colorfulness, attempt });
}

function loadScript(address, version = "") {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address + version;
    script.onload = () => (script.remove(), resolve());
    script.onerror = () => (script.remove(), reject(new Error(`${address} cannot be read`)));
    document.head.append(script);
  });
}

const loadData = (name) =>
  loadScript(`data/${name}.js`, `?v=${catalog.run ? catalog.run.version : Date.now()}`);

const numbered = (name, number) => `${name}-${String(number).padStart(5, "0")}`;

async function loadCatalog(tell) {
  await loadData("run");
  const { chunks, selections } = catalog.run;
  let next = 0;
  async function work() {
    while (next < chunks) {
      await loadData(numbered("rows", next++));
      tell(`${catalog.photos.length.toLocaleString("en")} photographs read`);
    }
  }
  await Promise.all(Array.from({ length: 6 }, work));
  if (catalog.run.before) await loadData("before");
  for (const number of selections) await loadData(numbered("selection", number));
  catalog.photos.forEach(finishPhoto);
  for (const pages of catalog.siblings.values()) {
    if (pages.length > 1) pages.forEach((photo) => (photo.name += `, page ${photo.page}`));
  }
  catalog.photos.sort((one, other) =>
    one.path === other.path ? one.page - other.page : one.path < other.path ? -1 : 1,
  );
}

async function detailOf(row) {
  if (!catalog.details.has(row.chunk)) {
    if (catalog.details.size > 8) catalog.details.clear();
    await loadData(numbered("details", row.chunk));
  }
  const values = catalog.details.get(row.chunk)[row.place];
  return Object.fromEntries(catalog.run.detail_fields.map((field, k) => [field, values[k]]));
}

const within = (value, [least, most]) =>
  (least === null && most === null) ||
  (value !== null && (least === null || value >= least) && (most === null || value <= most));

// wanted: text, folder, status, reason, decision (each "" for all), bits and colorfulness as
// [least, most] (null for open), sort ("path", or "-bits" for the largest first).
function choose(wanted) {
  const text = wanted.text.toLowerCase();
  const folder = wanted.folder.replace(/\/+$/, "");
  const found = catalog.photos.filter(
    (photo) =>
      photo.text.includes(text) &&
      (!folder || photo.folder === folder || photo.folder.startsWith(`${folder}/`)) &&
      (!wanted.status || photo.status === wanted.status) &&
      (!wanted.reason || photo.reason === wanted.reason) &&
      (!wanted.decision || (decisions.verdict(photo) || "undecided") === wanted.decision) &&
      within(photo.bits, wanted.bits) &&
      within(photo.colorfulness, wanted.colorfulness),
  );
  const down = wanted.sort.startsWith("-") ? -1 : 1;
  const key = wanted.sort.replace("-", "");
  if (key === "path") return down > 0 ? found : found.reverse();
  return found.sort((one, other) => {
    if (one[key] === null || other[key] === null) return (one[key] === null) - (other[key] === null);
    return down * (one[key] - other[key]);
  });
}
