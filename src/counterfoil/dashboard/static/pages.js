// What is a little nicer with script. Everything works without.
"use strict";

for (const select of document.querySelectorAll("select[data-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// Only one menu is open, and it closes by Escape or by a click beside it.
const menus = document.querySelectorAll("details.menu");
document.addEventListener("click", (event) => {
  for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus) {
    if (menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});

const job = document.querySelector("[data-job] progress")?.closest("[data-job]");
if (job) {
  const source = new EventSource(job.dataset.events);
  source.addEventListener("progress", (event) => {
    const told = JSON.parse(event.data);
    job.querySelector("[data-text]").textContent = told.text;
    if (told.percent !== null) job.querySelector("progress").value = told.percent;
    if (told.state === "succeeded" || told.state === "failed") {
      source.close();
      location.replace(told.state === "succeeded" ? job.dataset.done : location.href);
    }
  });
}
