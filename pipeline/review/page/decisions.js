"use strict";
// What was decided: here, in this browser, until it is exported; and in the destination before.
//
// A photo's decision is {attempt, choices: {candidate: "approve" | "reject"}, seed}; with a seed, all
// of it is to be redone, its other pages with it. It is void once the photo has another attempt.

const decisions = {
  kept: new Map(), // key -> decision, from the destination
  local: new Kept(),

  // False where the browser keeps nothing for this page.
  open() {
    return this.local.open("autochrome");
  },

  // A line of a file that was taken: what is redone gets a new picture, and no decision yet.
  keep(path, candidate, decision, page = 1) {
    const key = keyOf(path, page);
    if (decision === "redo") {
      for (const photo of catalog.siblings.get(path) || []) this.kept.delete(keyOf(path, photo.page));
    } else {
      this.kept.set(key, { choices: { ...this.kept.get(key)?.choices, [candidate]: decision } });
    }
  },

  of(photo) {
    const key = keyOf(photo.path, photo.page);
    return this.local.get(key) || this.kept.get(key) || { choices: {} };
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
    const pages = catalog.siblings.get(photo.path);
    const redone = this.of(photo).seed !== undefined;
    if (this.on(photo, row) === word && (word !== "redo" || this.of(photo).seed === seed)) {
      (redone ? pages : [photo]).forEach((each) => this.save(each, null));
    } else if (word === "redo") {
      pages.forEach((each) => this.save(each, { attempt, choices: {}, seed }));
    } else {
      if (redone) pages.forEach((each) => this.save(each, null));
      const choices = { ...this.of(photo).choices, [row.candidate]: word };
      for (const other of Object.keys(choices)) {
        const both = choices[other] === "approve" && word === "approve";
        if (both && Number(other) !== row.candidate) delete choices[other]; // one is chosen
      }
      this.save(photo, { attempt, choices });
    }
    return this.on(photo, row);
  },

  save(photo, decision) {
    this.local.keep(keyOf(photo.path, photo.page), decision);
  },

  // What `autochrome resume DST --selection` takes.
  csv() {
    // An apostrophe keeps spreadsheets from running a name that looks like a formula.
    const calm = (text) => (/^[=+\-@'\t\r]/.test(text) ? `'${text}` : text);
    const quoted = (value) => `"${calm(String(value)).replaceAll('"', '""')}"`;
    const paged = catalog.photos.length > catalog.siblings.size;
    const hinted = Boolean(catalog.run.hints);
    const lines = ["photo,candidate,decision,seed" + (paged ? ",page" : "") + (hinted ? ",hints" : "")];
    for (const [key, { choices, seed }] of [...this.local].sort()) {
      const [path, page = 1] = key.split("\0");
      const end = paged ? `,${page}` : "";
      if (seed !== undefined && page === 1) {
        const known = hinted ? `,${hints.asText(key)}` : "";
        lines.push(`${quoted(path)},,redo,${seed}${end}${known}`);
      }
      for (const [candidate, word] of Object.entries(choices)) {
        lines.push(`${quoted(path)},${candidate},${word},${end}${hinted ? "," : ""}`);
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
