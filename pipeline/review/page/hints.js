"use strict";
// Hints: colors that somebody knows, at places of a photo. Kept as decisions are, exported with them.
//
// A hint: {x, y, radius, color}; x and y are shares of width and height of the upright picture,
// radius one of its shorter side, color "#rrggbb".

const RADIUS = 0.03;

const hints = {
  local: new Kept(), // key -> {attempt, hints}
  undone: new Map(), // key -> {past, future}: lists of hints, until the page is left

  // A redo is of all pages of a file, and has one line in the file of decisions: that of the first.
  offered: (photo) => Boolean(catalog.run.hints) && photo.page === 1 && photo.shown.preview !== null,

  open() {
    return this.local.open("autochrome-hints");
  },

  // As Kept.read; what was done here to that photo cannot be undone any more.
  take(name, text) {
    const key = this.local.read(name, text);
    if (key !== null) this.undone.delete(key);
    return key;
  },

  of: (photo) => hints.local.get(keyOf(photo.path, photo.page))?.hints || [],

  // Those that its attempt before had, to start from.
  before: (photo) => hints.local.older.get(keyOf(photo.path, photo.page))?.hints || [],

  history(photo) {
    const key = keyOf(photo.path, photo.page);
    if (!this.undone.has(key)) this.undone.set(key, { past: [], future: [] });
    return this.undone.get(key);
  },

  // same: of many small changes, as moves by keys, only the first can be undone to.
  change(photo, list, same = "") {
    const history = this.history(photo);
    if (!same || history.same !== same) history.past.push(this.of(photo));
    history.same = same;
    history.future = [];
    this.save(photo, list);
  },

  // True where there was something to undo, or to do again.
  travel(photo, back) {
    const history = this.history(photo);
    const [from, to] = back ? [history.past, history.future] : [history.future, history.past];
    if (!from.length) return false;
    to.push(this.of(photo));
    history.same = "";
    this.save(photo, from.pop());
    return true;
  },

  save(photo, list) {
    const entry = list.length ? { attempt: photo.attempt, hints: list } : null;
    this.local.keep(keyOf(photo.path, photo.page), entry);
  },

  // As in the column "hints" of a selection: x:y:radius:#rrggbb, with ";" between them.
  asText(key) {
    const list = this.local.get(key)?.hints || [];
    const fixed = (value) => value.toFixed(4);
    return list
      .map(({ x, y, radius, color }) => [fixed(x), fixed(y), fixed(radius), color].join(":"))
      .join(";");
  },
};
