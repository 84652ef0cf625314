"use strict";
// What the reader has chosen: one entry to highlight, entries to hide, data sets (by the number of their section) to hide.
const view = { chosen: "", hidden: new Set(), away: new Set() };
const watchers = [];
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

document.documentElement.classList.add("js");

function choose(entry) {
  view.chosen = entry === view.chosen ? "" : entry;
  changed();
}

function changed() {
  for (const element of all("[data-entry]")) {
    element.classList.toggle("chosen", view.chosen !== "" && element.dataset.entry === view.chosen);
    // The choices themselves stay, or nothing could be brought back.
    if (element.tagName !== "LABEL") element.hidden = view.hidden.has(element.dataset.entry);
  }
  for (const element of all("[data-place]")) element.hidden = view.away.has(element.dataset.place);
  for (const [kind, away] of [["entry", view.hidden], ["place", view.away]]) {
    const boxes = all(`input[name=${kind}]`);
    const shown = boxes.filter((box) => (box.checked = !away.has(box.value))).length;
    const told = document.getElementById(kind === "entry" ? "shown-entries" : "shown-places");
    if (told) told.textContent = `${shown} of ${boxes.length}`;
  }
  document.getElementById("chosen").textContent = view.chosen || "none; click an entry or a mark";
  document.getElementById("clear").hidden = view.chosen === "";
  for (const watch of watchers) watch();
}

for (const [kind, away] of [["entry", view.hidden], ["place", view.away]]) {
  const boxes = all(`input[name=${kind}]`);
  for (const box of boxes) {
    box.addEventListener("change", () => {
      if (box.checked) away.delete(box.value);
      else away.add(box.value);
      changed();
    });
  }
  const every = document.querySelector(`[data-every=${kind}]`);
  every?.addEventListener("click", () => (away.clear(), changed()));
  const no = document.querySelector(`[data-no=${kind}]`);
  no?.addEventListener("click", () => (boxes.forEach((box) => away.add(box.value)), changed()));
}

document.getElementById("clear").addEventListener("click", () => choose(""));
for (const name of all(".pick")) {
  name.tabIndex = 0;
  name.setAttribute("role", "button");
  const pick = () => choose(name.closest("[data-entry]").dataset.entry);
  name.addEventListener("click", pick);
  name.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    pick();
  });
}

// A link into something folded opens it; paper shows everything.
const unfold = () => document.getElementById(location.hash.slice(1))?.closest("details")?.setAttribute("open", "");
window.addEventListener("hashchange", unfold);
unfold();
window.addEventListener("beforeprint", () => all("details:not(.tools details)").forEach((fold) => fold.setAttribute("open", "")));
