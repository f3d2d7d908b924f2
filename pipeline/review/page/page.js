"use strict";
// The grid, its filters and its keys.

const PER_PAGE = 100;
const grid = { photos: [], page: 0, place: 0 }; // place: in photos, of the card that has the focus
const byId = (id) => document.getElementById(id);
const words = { approve: "approved", reject: "rejected", redo: "to be redone", "": "undecided" };
const number = (value) => value.toLocaleString("en");

function announce(message) {
  const open = byId("detail").open; // what lies outside of an open dialog is not read
  byId(open ? "live-detail" : "live").textContent = message;
}

function make(tag, text, name = "") {
  const element = document.createElement(tag);
  if (text !== null) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function fillList(list, pairs) {
  const rows = pairs.map(([name, value]) => {
    const row = make("div", null);
    row.append(make("dt", name), make("dd", value));
    return row;
  });
  list.replaceChildren(...rows);
}

// A draft has no likelihood.
function scoresOf(row, [bits, colorfulness] = ["bits per pixel", "colorfulness"]) {
  const known = row.bits === null ? "" : `${row.bits.toFixed(2)} ${bits} · `;
  return `${known}${colorfulness} ${row.colorfulness.toFixed(0)}`;
}

// What a card says to those who do not see it.
function describe(photo) {
  const of = photo.shown.status === "ok" ? scoresOf(photo.shown) : "";
  const why = photo.status === "ok" ? "" : `${photo.status}: ${plain(photo.reason)}`;
  return [titleOf(photo), of, why, words[decisions.verdict(photo)] + hintsOf(photo)].filter(Boolean).join(", ");
}

function hintsOf(photo) {
  const count = decisions.verdict(photo) === "redo" ? hints.of(photo).length : 0;
  return count ? `, ${hintCount(count)}` : "";
}

const titleOf = ({ path, name }) => path.slice(0, path.lastIndexOf("/") + 1) + name;
const plain = (reason) => (reason || "no reason given").replaceAll("_", " ");

function card(photo, place) {
  const item = make("li", null);
  const button = make("button", null, "card");
  button.type = "button";
  button.dataset.place = place;
  button.tabIndex = place === grid.place ? 0 : -1;
  const mat = make("span", null, "mat");
  if (photo.shown.preview !== null) mat.append(lazyPicture(photo.shown));
  else {
    mat.append(make("b", photo.status === "ok" ? "no preview" : plain(photo.reason), "reason"));
    mat.append(make("span", photo.error || "", "error"));
  }
  button.append(mat, make("span", photo.name, "name"), make("span", photo.folder || " ", "folder"));
  const count = photo.candidates.length;
  if (count > 1) mat.append(make("span", `${count} candidates`, "count"));
  const row = photo.shown;
  const scores = row.status === "ok" ? scoresOf(row, ["bits", "color"]) : photo.status;
  button.append(make("span", scores, "scores"));
  button.append(make("span", "", "badge"));
  item.append(button);
  mark(button, photo);
  return item;
}

function mark(button, photo) {
  const verdict = decisions.verdict(photo);
  button.dataset.verdict = verdict;
  button.querySelector(".badge").textContent = verdict ? words[verdict] + hintsOf(photo) : "";
  button.setAttribute("aria-label", describe(photo));
}

const cardAt = (place) => byId("grid").querySelector(`[data-place="${place}"]`);

function showPage(page) {
  const pages = Math.max(1, Math.ceil(grid.photos.length / PER_PAGE));
  grid.page = Math.min(pages - 1, Math.max(0, page));
  const first = grid.page * PER_PAGE;
  if (grid.place < first || grid.place >= first + PER_PAGE) grid.place = first;
  forgetPictures();
  const photos = grid.photos.slice(first, first + PER_PAGE);
  byId("grid").replaceChildren(...photos.map((photo, k) => card(photo, first + k)));
  byId("page").value = grid.page + 1;
  byId("page").max = pages;
  byId("pages").textContent = `of ${number(pages)}`;
  byId("previous-page").disabled = grid.page === 0;
  byId("next-page").disabled = grid.page === pages - 1;
}

// Moves the focus to a photo, on another page where it is there.
function go(place, focus = true) {
  if (!grid.photos.length) return;
  const before = cardAt(grid.place);
  if (before) before.tabIndex = -1;
  grid.place = Math.min(grid.photos.length - 1, Math.max(0, place));
  const page = Math.floor(grid.place / PER_PAGE);
  if (page !== grid.page) showPage(page);
  const button = cardAt(grid.place);
  button.tabIndex = 0;
  if (focus) button.focus();
  button.scrollIntoView({ block: "nearest" });
}

const limits = (form, name) =>
  ["least", "most"].map((end) => {
    const value = form.elements[`${name}-${end}`].value;
    return value === "" ? null : Number(value);
  });

function update() {
  const form = byId("filters");
  const wanted = { bits: limits(form, "bits"), colorfulness: limits(form, "colorfulness") };
  for (const name of ["text", "folder", "sort", "status", "reason", "decision"]) {
    wanted[name] = form.elements[name].value;
  }
  grid.photos = choose(wanted);
  grid.place = 0;
  const [shown, all] = [grid.photos.length, catalog.photos.length];
  byId("count").textContent =
    shown === all ? `${number(all)} photographs` : `${number(shown)} of ${number(all)} photographs`;
  showPage(0);
  for (const [name, what, digits] of [["bits", "Bits per pixel", 2], ["colorfulness", "Colorfulness", 0]]) {
    const values = (photos) => photos.map((photo) => photo[name]).filter((value) => value !== null);
    drawHistogram(byId(`${name}-chart`), values(catalog.photos), values(grid.photos), what, digits);
  }
  announce(byId("count").textContent);
}

function decide(photo, row, word, seed) {
  if (word === "approve" && row.status !== "ok") {
    announce(`${photo.name} has no picture to approve`);
    return;
  }
  const left = decisions.decide(photo, row, word, seed);
  for (const each of catalog.siblings.get(photo.path)) {
    const button = cardAt(grid.photos.indexOf(each));
    if (button) mark(button, each);
  }
  byId("decided").textContent = number(decisions.local.size);
  announce(`${photo.name}: ${words[left]}`);
}

const DECISIONS = { a: "approve", r: "reject", d: "redo" };

function onGridKey(event) {
  const columns = getComputedStyle(byId("grid")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  if (event.key in steps) go(grid.place + steps[event.key]);
  else if (event.key === "Home") go(grid.page * PER_PAGE);
  else if (event.key === "End") go(grid.page * PER_PAGE + PER_PAGE - 1);
  else if (event.key in DECISIONS && grid.photos.length) {
    const photo = grid.photos[grid.place];
    decide(photo, photo.shown, DECISIONS[event.key]);
  } else return;
  event.preventDefault();
}

function toggleGray() {
  const gray = document.body.classList.toggle("gray");
  byId("gray").setAttribute("aria-pressed", gray);
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea")) return;
  const open = document.querySelector("dialog[open]");
  if (event.key === "?" && !open) byId("help").showModal();
  else if (open) return;
  else if (event.key === "g") toggleGray();
  else if (event.key === "PageDown") go((grid.page + 1) * PER_PAGE);
  else if (event.key === "PageUp") go(Math.max(0, grid.page - 1) * PER_PAGE);
  else return;
  event.preventDefault();
}

function fillHeader() {
  const { run, photos } = catalog;
  const name = run.source.replace(/\/+$/, "").split("/").pop() || run.source;
  byId("title").textContent = name;
  document.title = `${name} · Autochrome review`;
  byId("source").textContent = run.source + (run.finished ? ` · finished ${run.finished}` : "");
  const count = (status) => photos.filter((photo) => photo.status === status).length;
  const [pages, pending] = [photos.length, run.planned - catalog.siblings.size];
  const figures = [["colorized", "ok"], ["failed", "failed"], ["skipped", "skipped"]];
  fillList(byId("figures"), [
    ["photographs", number(run.planned)],
    ...(pages > catalog.siblings.size ? [["pages", number(pages)]] : []),
    ...figures.map(([title, status]) => [title, number(count(status))]),
    ...(pending ? [["not done yet", number(pending)]] : []),
  ]);
  fillList(byId("settings"), run.settings);
}

function fillChoices() {
  const form = byId("filters");
  const reasons = new Map();
  for (const photo of catalog.photos) {
    if (photo.status !== "ok") reasons.set(photo.reason, (reasons.get(photo.reason) || 0) + 1);
  }
  const add = (name, value, text) => {
    const option = make("option", text);
    option.value = value;
    form.elements[name].append(option);
  };
  for (const status of new Set(catalog.photos.map((photo) => photo.status))) add("status", status, status);
  for (const [reason, count] of [...reasons].sort((one, other) => other[1] - one[1])) {
    add("reason", reason, plain(reason));
    const button = make("button", `${number(count)} ${plain(reason)}`);
    button.type = "button";
    button.addEventListener("click", () => {
      form.elements.reason.value = reason;
      update();
    });
    const item = make("li", null);
    item.append(button);
    byId("failures").append(item);
  }
  if (!reasons.size) byId("failures").append(make("li", "none"));
  const folders = [...new Set(catalog.photos.map((photo) => photo.folder))].filter(Boolean).sort();
  for (const folder of folders.slice(0, 2000)) {
    const option = make("option", null);
    option.value = folder;
    byId("folders").append(option);
  }
}

// Another tab has changed something of a photo.
function onStorage({ key, newValue }) {
  if (key === null) [decisions, hints].forEach((each) => each.open());
  else if (decisions.local.read(key, newValue) === null && hints.take(key, newValue) === null) return;
  showPage(grid.page);
  byId("decided").textContent = number(decisions.local.size);
  if (byId("detail").open) markDetail();
}

function listen() {
  const form = byId("filters");
  let later = 0;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(update, 120);
  });
  form.addEventListener("reset", () => setTimeout(update));
  byId("grid").addEventListener("keydown", onGridKey);
  byId("grid").addEventListener("focusin", (event) => {
    const place = Number(event.target.dataset.place);
    if (place !== grid.place) go(place);
  });
  byId("grid").addEventListener("click", (event) => {
    const button = event.target.closest(".card");
    if (button) openDetail(Number(button.dataset.place));
  });
  byId("previous-page").addEventListener("click", () => go((grid.page - 1) * PER_PAGE, false));
  byId("next-page").addEventListener("click", () => go((grid.page + 1) * PER_PAGE, false));
  byId("page").addEventListener("change", () => showPage(byId("page").value - 1));
  byId("gray").addEventListener("click", toggleGray);
  byId("export").addEventListener("click", () => decisions.download());
  byId("ask-help").addEventListener("click", () => byId("help").showModal());
  byId("close-help").addEventListener("click", () => byId("help").close());
  document.addEventListener("keydown", onKey);
  window.addEventListener("storage", onStorage);
  listenInDetail();
}

async function start() {
  try {
    await loadCatalog(announce);
  } catch (error) {
    byId("title").textContent = "This page is not complete";
    byId("count").textContent = `${error.message}: run autochrome report again.`;
    return;
  }
  const stored = decisions.open() && hints.open();
  fillHeader();
  fillChoices();
  listen();
  byId("decided").textContent = number(decisions.local.size);
  update();
  if (!stored) announce("This browser keeps nothing for this page: export decisions before leaving.");
  document.documentElement.dataset.ready = "true";
}

start();
