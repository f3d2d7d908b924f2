"use strict";
// What was decided: here, in this browser, until it is exported; and in the destination before.
//
// A photo's decision is {attempt, choices: {candidate: "approve" | "reject"}, seed}; with a seed, all
// of it is to be redone. It is void once the photo has another attempt.

const decisions = {
  kept: new Map(), // path -> decision, from the destination
  local: new Map(),

  open() {
    this.prefix = `autochrome ${catalog.run.digest.slice(0, 16)} `;
    const photos = new Map(catalog.photos.map((photo) => [photo.path, photo]));
    try {
      for (const key of Object.keys(localStorage).filter((key) => key.startsWith(this.prefix))) {
        const path = key.slice(this.prefix.length);
        const decision = JSON.parse(localStorage.getItem(key));
        if (photos.get(path)?.attempt === decision.attempt) this.local.set(path, decision);
      }
    } catch {
      return false; // the browser keeps nothing for this page
    }
    return true;
  },

  // A line of a file that was taken: what is redone gets a new picture, and no decision yet.
  keep(path, candidate, decision) {
    if (decision === "redo") this.kept.delete(path);
    else this.kept.set(path, { choices: { ...this.kept.get(path)?.choices, [candidate]: decision } });
  },

  of(photo) {
    return this.local.get(photo.path) || this.kept.get(photo.path) || { choices: {} };
  },

  // "approve", "reject", "redo" or "" of a candidate.
  on(photo, row) {
    const decision = this.of(photo);
    return decision.seed !== undefined ? "redo" : decision.choices[row.candidate] || "";
  },

  // The same of a photo as a whole: one approved candidate is enough.
  verdict(photo) {
    const decision = this.of(photo);
    if (decision.seed !== undefined) return "redo";
    if (Object.values(decision.choices).includes("approve")) return "approve";
    return decision.choices[photo.shown.candidate] || "";
  },

  proposedSeed: (photo) => String(BigInt(catalog.run.seed) + BigInt(photo.attempt)),

  // Decides, or takes back what is decided so already; what is left then.
  decide(photo, row, word, seed = this.proposedSeed(photo)) {
    const { attempt } = photo;
    if (this.on(photo, row) === word && (word !== "redo" || this.of(photo).seed === seed)) {
      this.save(photo.path, null);
    } else if (word === "redo") {
      this.save(photo.path, { attempt, choices: {}, seed });
    } else {
      const choices = { ...this.of(photo).choices, [row.candidate]: word };
      for (const other of Object.keys(choices)) {
        const both = choices[other] === "approve" && word === "approve";
        if (both && Number(other) !== row.candidate) delete choices[other]; // one is chosen
      }
      this.save(photo.path, { attempt, choices });
    }
    return this.on(photo, row);
  },

  save(path, decision) {
    if (decision) this.local.set(path, decision);
    else this.local.delete(path);
    try {
      if (decision) localStorage.setItem(this.prefix + path, JSON.stringify(decision));
      else localStorage.removeItem(this.prefix + path);
    } catch {
      announce("This browser has no room left for decisions: export them now.");
    }
  },

  // What `autochrome resume DST --selection` takes.
  csv() {
    const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const lines = ["photo,candidate,decision,seed"];
    for (const [path, { choices, seed }] of [...this.local].sort()) {
      if (seed !== undefined) lines.push(`${quoted(path)},,redo,${seed}`);
      for (const [candidate, word] of Object.entries(choices)) {
        lines.push(`${quoted(path)},${candidate},${word},`);
      }
    }
    return lines.join("\r\n") + "\r\n";
  },

  download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" }));
    link.download = "selection.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  },
};
