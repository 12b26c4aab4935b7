// The live parts. Everything else works without this.
"use strict";

// A part that names an address gets its content from there, whenever the server has something new.
for (const part of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(part.dataset.live);
  source.addEventListener("part", (event) => {
    // Whoever is at a link by keyboard stays there.
    const at = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    part.innerHTML = event.data;
    document.body.classList.add("is-live");
    if (at) part.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
  });
  source.addEventListener("end", () => {
    source.close();
    document.body.classList.remove("is-live");
    if (part.dataset.then) location.assign(part.dataset.then);
  });
  source.addEventListener("error", () => document.body.classList.remove("is-live"));
}

// A box that ticks all others of its table.
for (const all of document.querySelectorAll("[data-all]")) {
  all.hidden = false;
  const boxes = document.querySelectorAll(`input[name="${CSS.escape(all.dataset.all)}"]`);
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
}

// A form that acts is sent once.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
// A page that the browser kept may be sent from again.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Keys: / to the first field of a filter, g and a letter to a page.
let leader = 0;
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    const field = document.querySelector("form[method=get] input, form[method=get] select");
    if (field) { event.preventDefault(); field.focus(); }
  } else if (event.key === "g") {
    leader = Date.now();
  } else if (Date.now() - leader < 1500) {
    leader = 0;
    document.querySelector(`.nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
  }
});
