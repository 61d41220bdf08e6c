// The figures of a campaign or a file change by themselves. Without script, a reload shows them.
"use strict";

const live = document.querySelector("[data-live]");
if (live) {
  live.classList.add("on");
  const source = new EventSource(live.dataset.live);
  source.addEventListener("counters", (event) => {
    const told = JSON.parse(event.data);
    for (const [name, text] of Object.entries(told.figures)) {
      for (const shown of live.querySelectorAll(`[data-figure="${name}"]`)) {
        if (shown.textContent !== text) shown.textContent = text;
      }
    }
    for (const [name, [x, width]] of Object.entries(told.bars)) {
      for (const bar of live.querySelectorAll(`[data-bar="${name}"]`)) {
        bar.setAttribute("x", x);
        bar.setAttribute("width", width);
      }
    }
    const moved = told.state !== live.dataset.state;
    document.querySelector("[data-moved]").hidden = !moved;
    // Nobody is disturbed who types something or reads what was folded.
    const busy = document.querySelector("main :is(input, select, textarea):focus, main details[open]");
    if (moved && "reload" in live.dataset && !busy) {
      source.close();
      location.reload();
    }
  });
}
