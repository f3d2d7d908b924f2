"use strict";
// The part of an open photograph that lists its hints and chooses their colors.

const MOST_NEIGHBORS = 6; // pictures of the same folder whose colors are offered

// Of the photo that is open, all that depends on its hints.
function showHints() {
  const { photo } = detail;
  const offered = hints.offered(photo);
  byId("hints-section").hidden = byId("marks").hidden = !offered;
  if (!offered) return;
  const list = hints.of(photo);
  if (hinting.selected >= list.length) hinting.selected = -1;
  drawMarks();
  fillHintList(list);
  const { past, future } = hints.history(photo);
  byId("hint-undo").disabled = !past.length;
  byId("hint-again").disabled = !future.length;
  byId("hint-delete").disabled = hinting.selected < 0;
  const before = hints.before(photo);
  byId("hint-before").hidden = list.length > 0 || !before.length;
  byId("hint-before").textContent = `Start with ${hintCount(before.length)} of the attempt before`;
  const redone = decisions.of(photo).seed !== undefined;
  byId("hint-redo").disabled = !list.length;
  byId("hint-redo").setAttribute("aria-pressed", redone && list.length > 0);
  const asked = redone ? `To be redone with ${hintCount(list.length)}.` : "Not asked for yet.";
  byId("hint-state").textContent = list.length ? asked : "";
  showColor(list[hinting.selected]);
  const card = cardAt(grid.place);
  if (card) mark(card, photo);
  keepFocus();
}

// A button that had the focus may be gone or disabled now; the keys of an open photo need one in it.
function keepFocus() {
  const [dialog, focused] = [byId("detail"), document.activeElement];
  if (dialog.open && (!dialog.contains(focused) || focused.disabled)) byId("hint-keys").focus();
}

const hintCount = (count) => (count === 1 ? "1 hint" : `${count} hints`);

function fillHintList(list) {
  const place = byId("hint-list");
  const focused = place.contains(document.activeElement) ? hinting.selected : -1;
  place.replaceChildren(
    ...list.map((hint, k) => {
      const item = make("li", null);
      const button = make("button", null, "hint");
      button.type = "button";
      button.dataset.hint = k;
      button.setAttribute("aria-pressed", k === hinting.selected);
      const words = make("span", `${k + 1}: ${colorName(hint.color)} ${hint.color}`);
      button.append(swatchOf(hint.color), words, make("span", placeName(hint), "soft"));
      button.addEventListener("click", () => selectHint(hinting.selected === k ? -1 : k));
      item.append(button);
      return item;
    }),
  );
  if (focused >= 0) place.querySelector(`[data-hint="${focused}"]`)?.focus();
}

function swatchOf(color) {
  const swatch = make("span", null, "swatch");
  swatch.style.setProperty("--color", color);
  return swatch;
}

function selectHint(k) {
  hinting.selected = k;
  showHints();
  const hint = hints.of(detail.photo)[k];
  announce(hint ? `Hint ${k + 1} selected, ${colorName(hint.color)}, ${placeName(hint)}` : "No hint selected");
}

// same: as in hints.change.
function changeHint(k, hint, same = "") {
  hints.change(detail.photo, hints.of(detail.photo).map((each, place) => (place === k ? hint : each)), same);
  showHints();
  announce(`Hint ${k + 1}, ${colorName(hint.color)}, ${placeName(hint)}`);
}

function moveHint(k, event) {
  hinting.selected = k;
  changeHint(k, movedBy(hints.of(detail.photo)[k], stepOf(event)), `move ${k}`);
}

function deleteHint() {
  const [list, k] = [hints.of(detail.photo), hinting.selected];
  if (k < 0) return;
  hints.change(detail.photo, list.filter((_, place) => place !== k));
  hinting.selected = -1;
  const here = document.activeElement.closest("#hint-list, #hint-delete");
  showHints();
  if (here) (byId("hint-list").querySelector("button") || byId("hint-undo")).focus();
  announce(`Hint ${k + 1} deleted, ${hintCount(list.length - 1)} left`);
}

function travel(back) {
  if (!hints.travel(detail.photo, back)) {
    announce(back ? "Nothing to undo" : "Nothing to do again");
    return;
  }
  hinting.selected = -1;
  showHints();
  announce(`${back ? "Undone" : "Done again"}: ${hintCount(hints.of(detail.photo).length)}`);
}

// The color of the hint that is selected, else of the next one.
function chooseColor(color, same = "") {
  hinting.color = color;
  const hint = hints.of(detail.photo)[hinting.selected];
  if (hint) changeHint(hinting.selected, { ...hint, color }, same && `${same} ${hinting.selected}`);
  else {
    showColor();
    announce(`Color of the next hint: ${colorName(color)}`);
  }
}

function showColor(hint) {
  const color = hint?.color || hinting.color;
  const field = byId("hint-hex");
  if (document.activeElement !== field || parseHex(field.value) !== color) field.value = color;
  field.setAttribute("aria-invalid", "false");
  byId("hint-native").value = color || "#808080";
  byId("hint-radius").value = Math.round(1000 * (hint?.radius ?? hinting.radius)) / 10;
  byId("hint-next").textContent = hint
    ? `Color of hint ${hinting.selected + 1}`
    : "Color of the next hint";
  for (const button of document.querySelectorAll("#hints-section .palette button")) {
    button.setAttribute("aria-pressed", button.dataset.color === color);
  }
}

function onHexInput() {
  const color = parseHex(byId("hint-hex").value);
  byId("hint-hex").setAttribute("aria-invalid", !color);
  if (color) chooseColor(color, "hex");
}

function onRadiusInput() {
  const radius = Number(byId("hint-radius").value) / 100;
  hinting.radius = radius;
  const hint = hints.of(detail.photo)[hinting.selected];
  if (hint) changeHint(hinting.selected, { ...hint, radius }, `radius ${hinting.selected}`);
}

function redoWithHints() {
  if (decisions.of(detail.photo).seed === undefined) decideInDetail("redo");
  showHints();
  if (decisions.of(detail.photo).seed !== undefined) {
    announce(`${detail.photo.name}: to be redone with ${hintCount(hints.of(detail.photo).length)}`);
  }
}

// Photos of the same folder that are nearest in the order of paths, with their pictures.
function neighborsOf(photo) {
  const { photos } = catalog;
  const at = photos.indexOf(photo);
  const found = [];
  for (let away = 1; away < 50 && found.length < MOST_NEIGHBORS; away += 1) {
    for (const each of [photos[at + away], photos[at - away]]) {
      const fits = each && each.folder === photo.folder && each.shown.preview !== null;
      if (fits && found.length < MOST_NEIGHBORS) found.push(each);
    }
  }
  return found;
}

function fillPalette(id, colors, whose) {
  byId(id).replaceChildren(
    ...colors.map((color) => {
      const button = make("button", null);
      button.type = "button";
      button.dataset.color = color;
      button.title = color;
      button.setAttribute("aria-label", `${colorName(color)} ${color}, of ${whose}`);
      button.append(swatchOf(color));
      button.addEventListener("click", () => chooseColor(color));
      return button;
    }),
  );
  byId(id).parentElement.hidden = !colors.length;
}

let palettesLater = 0;

// A moment later, so that pictures that are only passed by cost nothing.
function offerColors(row) {
  clearTimeout(palettesLater);
  fillPalette("palette-picture", [], "");
  fillPalette("palette-folder", [], "");
  byId("hint-no-colors").hidden = true;
  if (hints.offered(detail.photo)) palettesLater = setTimeout(() => fillPalettes(row), 200);
}

async function fillPalettes(row) {
  const own = await pixelsOf(row);
  const neighbors = neighborsOf(detail.photo);
  const others = (await Promise.all(neighbors.map(({ shown }) => pixelsOf(shown)))).filter(Boolean);
  if (detail.row !== row) return;
  byId("hint-no-colors").hidden = own !== null;
  byId("hint-pick").disabled = own === null;
  fillPalette("palette-picture", own ? mainColors(own.data) : [], "this picture");
  const together = others.flatMap(({ data }) => mainColors(data)).flatMap((hex) => [...rgbOf(hex), 255]);
  fillPalette("palette-folder", mainColors(together), "this folder");
  const pictures = neighbors.map(({ shown, name }) => {
    const canvas = make("canvas", null);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    draw(canvas, shown);
    return canvas;
  });
  byId("hint-pictures").replaceChildren(...pictures);
  showHints();
}

async function pickFromScreen() {
  try {
    const { sRGBHex } = await new EyeDropper().open();
    chooseColor(parseHex(sRGBHex) || "#808080");
  } catch {
    announce("No color was chosen.");
  }
}

// Keys that are about hints; true where the key was one of them.
function onHintKey(event) {
  if (!hints.offered(detail.photo)) return false;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "z") {
    if (event.target.closest("#seed, #hint-hex")) return false;
    travel(!event.shiftKey);
    return true;
  }
  if (event.ctrlKey || event.altKey || event.metaKey) return false;
  const listed = event.target.closest(".hint");
  if (event.target.id === "marks" && onMarksKey(event)) return true;
  if (event.target.closest("input:not([type=checkbox])")) return false;
  if (listed && event.key in ARROWS) {
    moveHint(Number(listed.dataset.hint), event);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    if (listed) hinting.selected = Number(listed.dataset.hint);
    deleteHint();
  } else if (event.key === "Escape" && hinting.picking) pickColors(false);
  else if (event.key === "h") aim();
  else if (event.key === "i" && !byId("hint-pick").disabled) pickColors(!hinting.picking);
  else return false;
  return true;
}

function listenInHints() {
  listenInMarks();
  byId("hint-keys").addEventListener("click", aim);
  byId("hint-pick").addEventListener("click", () => pickColors(!hinting.picking));
  byId("hint-screen").hidden = !("EyeDropper" in window);
  byId("hint-screen").addEventListener("click", pickFromScreen);
  byId("hint-hex").addEventListener("input", onHexInput);
  byId("hint-native").addEventListener("input", () => chooseColor(byId("hint-native").value, "native"));
  byId("hint-radius").addEventListener("input", onRadiusInput);
  byId("hint-undo").addEventListener("click", () => travel(true));
  byId("hint-again").addEventListener("click", () => travel(false));
  byId("hint-delete").addEventListener("click", deleteHint);
  byId("hint-redo").addEventListener("click", redoWithHints);
  byId("hint-before").addEventListener("click", () => {
    hints.change(detail.photo, hints.before(detail.photo));
    showHints();
    announce(hintCount(hints.of(detail.photo).length));
  });
}
