"use strict";
// Hints in the picture: dots, set and dragged by pointers, and a crosshair that keys move.

// selected: place in the list of hints, or -1. color: what the next hint gets; "" until one is
// chosen: then the picture's own. picking: the next click tells a color.
const hinting = { selected: -1, color: "", radius: RADIUS, picking: false, x: 0.5, y: 0.5 };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const [STEP, FINE] = [0.02, 0.004]; // of width and height, for a press of an arrow; with Shift

const inside = (share) => Math.min(1, Math.max(0, share));
const percent = (share) => `${Math.round(1000 * share) / 10} %`;
const placeName = ({ x, y }) => `${percent(x)} from the left, ${percent(y)} from the top`;

function stepOf(event) {
  const size = event.shiftKey ? FINE : STEP;
  return ARROWS[event.key].map((direction) => direction * size);
}

const movedBy = (place, [x, y]) => ({ ...place, x: inside(place.x + x), y: inside(place.y + y) });

function putAt(element, { x, y }) {
  element.style.setProperty("--x", `${100 * x}%`);
  element.style.setProperty("--y", `${100 * y}%`);
}

function dotOf(hint, k) {
  const dot = make("span", String(k + 1), "dot");
  const { width, height } = detail.row;
  dot.dataset.hint = k;
  dot.style.setProperty("--color", hint.color);
  dot.style.setProperty("--on", oklabOf(rgbOf(hint.color))[0] > 0.6 ? "#000" : "#fff");
  putAt(dot, hint);
  const reach = make("span", null, "reach");
  reach.style.setProperty("--wide", `${200 * hint.radius * Math.min(1, height / width)}%`);
  putAt(reach, hint);
  dot.classList.toggle("selected", k === hinting.selected);
  return [reach, dot];
}

function drawMarks() {
  byId("dots").replaceChildren(...hints.of(detail.photo).flatMap(dotOf));
  putAt(byId("cross"), hinting);
}

// Where in a picture a pointer is, as shares of its width and height.
function pointedAt(event, element) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return { x: inside((event.clientX - left) / width), y: inside((event.clientY - top) / height) };
}

// The color of a picture at a place; "" where it cannot be known.
async function colorIn(row, { x, y }) {
  const pixels = await pixelsOf(row);
  return pixels ? colorAt(pixels, x, y) : "";
}

async function placeHint({ x, y }) {
  const { photo, row } = detail;
  const own = await colorIn(row, { x, y });
  if (detail.photo !== photo) return; // another one was opened meanwhile
  const color = hinting.color || own || "#808080";
  const list = [...hints.of(photo), { x, y, radius: hinting.radius, color }];
  hinting.selected = list.length - 1;
  hints.change(photo, list);
  showHints();
  announce(`Hint ${list.length}, ${colorName(color)}, ${placeName({ x, y })}`);
}

// Drags a dot until the pointer is lifted; a dot that was not moved is selected instead.
function onDotDown(event) {
  const dot = event.target.closest(".dot");
  if (!dot || hinting.picking || event.button) return;
  const k = Number(dot.dataset.hint);
  const { photo } = detail;
  const [from, marks] = [pointedAt(event, byId("marks")), byId("marks")];
  const hint = hints.of(photo)[k];
  let to = null;
  const move = (moved) => {
    const { x, y } = pointedAt(moved, marks);
    const away = Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY);
    if (!to && away < 4) return;
    to = movedBy(hint, [x - from.x, y - from.y]);
    for (const part of [dot, dot.previousSibling]) putAt(part, to);
  };
  const end = (ended) => {
    dot.removeEventListener("pointermove", move);
    if (detail.photo !== photo) return;
    if (to && ended.type === "pointerup") {
      hinting.selected = k;
      changeHint(k, to);
    } else if (!to) selectHint(hinting.selected === k ? -1 : k);
    else showHints();
  };
  dot.setPointerCapture(event.pointerId);
  dot.addEventListener("pointermove", move);
  dot.addEventListener("pointerup", end, { once: true });
  dot.addEventListener("pointercancel", end, { once: true });
}

function onMarksClick(event) {
  if (!event.target.closest(".dot")) placeHint(pointedAt(event, byId("marks")));
}

// While a color is looked for, a click on any picture tells it and does nothing else.
function onPickingClick(event) {
  if (!hinting.picking) return;
  const marks = event.target.closest("#marks");
  const canvas = event.target.closest("canvas:not(#map)");
  if (!marks && !canvas?.candidate) return;
  event.preventDefault();
  event.stopPropagation();
  pickColor(marks ? detail.row : canvas.candidate, pointedAt(event, marks || canvas));
}

async function pickColor(row, place) {
  const color = await colorIn(row, place);
  if (!color) {
    announce("The colors of this picture cannot be read here.");
    return;
  }
  pickColors(false);
  chooseColor(color);
}

function pickColors(on) {
  hinting.picking = on;
  document.body.classList.toggle("picking", on);
  byId("hint-pick").setAttribute("aria-pressed", on);
  byId("hint-neighbors").hidden = !on;
  if (on) announce("Eyedropper: choose a place in a picture; Escape ends it.");
}

function aim() {
  byId("marks").classList.add("aimed");
  byId("marks").focus();
  tellCross();
}

async function tellCross() {
  const { x, y } = hinting;
  const color = await colorIn(detail.row, { x, y });
  if (x !== hinting.x || y !== hinting.y) return; // it has moved on
  announce(`${placeName({ x, y })}${color ? `, ${colorName(color)}` : ""}`);
}

// Keys in the picture; true where the key was one of them. Arrows move the hint that a pointer has
// just set or selected, else the crosshair.
function onMarksKey(event) {
  const aimed = byId("marks").classList.contains("aimed");
  if (event.key in ARROWS) {
    if (!aimed && hinting.selected >= 0) moveHint(hinting.selected, event);
    else {
      Object.assign(hinting, movedBy(hinting, stepOf(event)));
      byId("marks").classList.add("aimed");
      putAt(byId("cross"), hinting);
      tellCross();
    }
  } else if (event.key === "Enter" || event.key === " ") {
    if (!aimed) aim();
    else if (hinting.picking) pickColor(detail.row, hinting);
    else placeHint(hinting);
  } else if (event.key === "Escape" && aimed && !hinting.picking) byId("hint-keys").focus();
  else return false;
  return true;
}

function listenInMarks() {
  const marks = byId("marks");
  marks.addEventListener("click", onMarksClick);
  marks.addEventListener("pointerdown", onDotDown);
  marks.addEventListener("pointerdown", () => marks.classList.remove("aimed"));
  marks.addEventListener("focus", () => {
    if (marks.matches(":focus-visible")) marks.classList.add("aimed");
  });
  marks.addEventListener("blur", () => marks.classList.remove("aimed"));
  byId("detail").addEventListener("click", onPickingClick, true);
}
