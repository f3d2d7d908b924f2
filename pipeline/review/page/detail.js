"use strict";
// One photograph, large: gray against color, its candidates, its scores, where it came from.

const detail = { photo: null, row: null };
const SHOWN_BY_BROWSERS = /\.(jpe?g|png|webp|avif)$/i;
const MOST_PIXELS = 40e6; // of a file that is shown itself instead of its preview

function openDetail(place) {
  go(place, false);
  detail.photo = grid.photos[grid.place];
  byId("detail-title").textContent = titleOf(detail.photo);
  byId("detail-place").textContent =
    `${number(grid.place + 1)} of ${number(grid.photos.length)}` +
    (detail.photo.attempt > 1 ? ` · attempt ${detail.photo.attempt}` : "");
  byId("beside").hidden = detail.photo.candidates.length < 2;
  if (byId("beside").hidden) layBeside(false);
  byId("candidates").replaceChildren(...detail.photo.candidates.map(candidateItem));
  byId("ranked-by").textContent = `by ${catalog.run.rank_by}`;
  hinting.selected = -1;
  pickColors(false);
  showBefore(detail.photo);
  byId("seed").value = decisions.of(detail.photo).seed ?? decisions.proposedSeed(detail.photo);
  showCandidate(detail.photo.shown);
  if (byId("detail").open) announce(describe(detail.photo));
  else byId("detail").showModal();
}

function candidateItem(row) {
  const item = make("li", null);
  const button = make("button", null, "candidate");
  button.type = "button";
  button.dataset.candidate = row.candidate;
  if (row.preview !== null) button.append(lazyPicture(row));
  const scores = row.status === "ok" ? scoresOf(row) : plain(row.reason);
  const rank = row.rank === null ? "no rank" : `rank ${row.rank}`;
  button.append(make("span", `${rank} · ${scores}`), make("span", "", "badge"));
  button.addEventListener("click", () => showCandidate(row));
  item.append(button);
  return item;
}

async function showCandidate(row) {
  detail.row = row;
  const { photo } = detail;
  const drawn = row.preview !== null;
  byId("frame").hidden = !drawn;
  byId("frame").style.setProperty("--aspect", drawn ? row.width / row.height : 1);
  byId("failure").textContent = drawn ? "" : `${plain(row.reason)}: ${row.error || "no details"}`;
  byId("picture").setAttribute("aria-label", `${photo.name}, colorized, candidate ${row.candidate}`);
  byId("map").setAttribute("aria-label", `Map of uncertainty of ${photo.name}`);
  for (const [id, kind] of [["picture", "color"], ["gray-picture", "color"], ["map", "map"], ["overlay", "map"]]) {
    if (drawn) draw(byId(id), row, kind);
  }
  byId("map").style.setProperty("--aspect", drawn ? row.width / row.height : 1);
  for (const id of ["map", "lay-over", "wipe"]) byId(id).closest("section, .slider").hidden = !drawn;
  markDetail();
  offerColors(row);
  let facts;
  try {
    facts = await detailOf(row);
  } catch (error) {
    announce(error.message);
    return;
  }
  if (detail.row === row) showFacts(row, facts);
}

// Of several: how many there are, and what put them in their order.
function rankOf(row) {
  const { length } = detail.photo.candidates;
  return length > 1 ? `${row.rank} of ${length}, by ${catalog.run.rank_by}` : "1 of 1";
}

function showFacts(row, facts) {
  const known = (pairs) => pairs.filter(([, value]) => value !== null && value !== "");
  const fixed = (value, digits) => (value === null ? null : value.toFixed(digits));
  fillList(byId("scores"), known([
    ["bits per pixel (core)", fixed(row.bits, 3)],
    ["rank", row.rank && rankOf(row)],
    ["colorfulness", fixed(row.colorfulness, 1)],
    ["log-likelihood, nats", fixed(facts.log_likelihood, 1)],
    ["bits per value, color", fixed(facts.color_bits_per_dim, 3)],
    ["bits per value, spatial", fixed(facts.spatial_bits_per_dim, 3)],
    ["bits per pixel beyond those expected", fixed(facts.excess_bits, 3)],
    ["distance from the mean color", fixed(facts.mean_distance, 2)],
    ["chroma beyond that expected", fixed(facts.chroma_excess, 2)],
    ["candidate", detail.photo.candidates.length > 1 ? String(row.candidate) : null],
  ]));
  const size = facts.width && `${number(facts.width)} × ${number(facts.height)}`;
  fillList(byId("origin"), known([
    ["master", [size, facts.source_mode, facts.source_tone].filter(Boolean).join(", ")],
    ["page", row.pages > 1 ? `${row.page} of ${row.pages}` : null],
    ["master's SHA-256", facts.source_sha256],
    ["result", facts.file],
    ["result's SHA-256", facts.output_sha256],
    ["seed", facts.seed],
    ["attempt, shard", `${row.attempt}, ${row.shard}`],
    ["weights", catalog.run.weights],
    ["device", facts.device],
    ["finished", facts.finished_at],
  ]));
  const link = byId("open");
  link.hidden = !facts.file;
  if (!facts.file) return;
  link.href = `../${facts.file.split("/").map(encodeURIComponent).join("/")}`;
  if (SHOWN_BY_BROWSERS.test(facts.file) && facts.width * facts.height <= MOST_PIXELS) showFile(row, link.href);
}

// What a photo looked like before it was redone, where that is still there.
async function showBefore(photo) {
  const row = catalog.before.get(keyOf(photo.path, photo.page));
  const lay = (shown) => {
    byId("stage").classList.toggle("twofold", shown);
    byId("before").hidden = byId("now").hidden = !shown;
  };
  lay(false);
  if (!row || photo.shown.preview === null) return;
  byId("before").style.setProperty("--aspect", row.width / row.height);
  byId("before-title").textContent = `before: attempt ${row.attempt}`;
  byId("now").textContent = `now: attempt ${photo.attempt}`;
  byId("before-picture").setAttribute("aria-label", `${photo.name} as it was in attempt ${row.attempt}`);
  const drawn = await draw(byId("before-picture"), row);
  if (detail.photo === photo) lay(drawn);
}

// The file itself in the place of its preview.
function showFile(row, address) {
  const image = new Image();
  image.onload = () => {
    if (detail.row !== row) return;
    const scale = Math.min(1, 1600 / Math.max(image.naturalWidth, image.naturalHeight));
    for (const id of ["picture", "gray-picture"]) {
      const canvas = byId(id);
      canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
      canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    }
  };
  image.src = address; // where it is gone, the preview stays
}

function markDetail() {
  const { photo, row } = detail;
  for (const word of ["approve", "reject", "redo"]) {
    byId(word).setAttribute("aria-pressed", decisions.on(photo, row) === word);
  }
  byId("approve").disabled = row.status !== "ok";
  for (const [k, button] of [...document.querySelectorAll(".candidate")].entries()) {
    const each = photo.candidates[k];
    const word = decisions.on(photo, each);
    button.setAttribute("aria-pressed", each === row);
    button.dataset.verdict = word;
    button.querySelector(".badge").textContent = word ? words[word] : "";
  }
  showHints();
}

function decideInDetail(word) {
  const seed = byId("seed").value.trim();
  if (word === "redo" && !/^[0-9]{1,18}$/.test(seed)) {
    announce("The seed must be a whole number.");
    byId("seed").focus();
    return;
  }
  decide(detail.photo, detail.row, word, seed);
  markDetail();
}

function step(by) {
  const place = grid.place + by;
  if (place >= 0 && place < grid.photos.length) openDetail(place);
}

function onDetailKey(event) {
  if (onHintKey(event)) {
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("input:not([type=checkbox])")) return;
  const { candidates } = detail.photo;
  const other = candidates[candidates.indexOf(detail.row) + { ArrowUp: -1, ArrowDown: 1 }[event.key]];
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (other) showCandidate(other);
  else if (event.key in DECISIONS) decideInDetail(DECISIONS[event.key]);
  else if (event.key === "g") wipe(Number(byId("wipe").value) < 100 ? 100 : 0);
  else if (event.key === "c" && candidates.length > 1) toggleBeside();
  else if (event.key === "u") byId("lay-over").click();
  else return;
  event.preventDefault();
}

function layBeside(on) {
  byId("stage").classList.toggle("beside", on);
  byId("beside").setAttribute("aria-pressed", on);
  byId(on ? "stage" : "candidates-section").append(byId("candidates"));
}

const toggleBeside = () => layBeside(!byId("stage").classList.contains("beside"));

function wipe(share) {
  byId("wipe").value = share;
  byId("frame").style.setProperty("--wipe", `${share}%`);
}

function listenInDetail() {
  byId("detail").addEventListener("keydown", onDetailKey);
  byId("detail").addEventListener("close", () => go(grid.place));
  byId("close").addEventListener("click", () => byId("detail").close());
  byId("beside").addEventListener("click", toggleBeside);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("wipe").addEventListener("input", () => wipe(byId("wipe").value));
  byId("lay-over").addEventListener("change", () => {
    byId("frame").classList.toggle("laid-over", byId("lay-over").checked);
  });
  for (const word of ["approve", "reject", "redo"]) {
    byId(word).addEventListener("click", () => decideInDetail(word));
  }
  listenInHints();
  wipe(50);
}
