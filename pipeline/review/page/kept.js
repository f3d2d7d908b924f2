"use strict";
// What this browser keeps of a run: a map with an entry a photo, which other tabs share.
//
// An entry has the attempt of its photo, and is void once the photo has another. Each is stored by
// itself, so that of two tabs the last change of a photo counts.

class Kept extends Map {
  // kind: the first word of all names that it stores under. False where the browser keeps nothing.
  open(kind) {
    this.prefix = `${kind} ${catalog.run.digest.slice(0, 16)} `;
    this.attempts = new Map(catalog.photos.map((photo) => [keyOf(photo.path, photo.page), photo.attempt]));
    this.clear();
    this.older = new Map(); // of attempts before the one that is shown
    try {
      for (const name of Object.keys(localStorage)) this.read(name, localStorage.getItem(name));
    } catch {
      return false;
    }
    return true;
  }

  // The key whose entry a stored text is; null where it is none of this map.
  read(name, text) {
    if (!name.startsWith(this.prefix)) return null;
    const key = name.slice(this.prefix.length);
    if (!this.attempts.has(key)) return null;
    this.delete(key);
    const entry = text === null ? null : JSON.parse(text);
    if (entry) (entry.attempt === this.attempts.get(key) ? this : this.older).set(key, entry);
    return key;
  }

  // entry null: forgotten.
  keep(key, entry) {
    if (entry) this.set(key, entry);
    else this.delete(key);
    try {
      if (entry) localStorage.setItem(this.prefix + key, JSON.stringify(entry));
      else localStorage.removeItem(this.prefix + key);
    } catch {
      announce("This browser has no room left for decisions: export them now.");
    }
  }
}
