// What the page cannot do without a script: keys, figures that stay new, a question before what
// cannot be undone, and files. Everything else is links and forms.
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("input, select, textarea")) return;
  const pressed = [...document.querySelectorAll("[data-key]")].find((it) => it.dataset.key === event.key.toLowerCase());
  if (!pressed) return;
  event.preventDefault();
  pressed.click();
});

// An answer is sent once, however often the key is pressed.
document.addEventListener("submit", (event) => {
  const question = event.submitter && event.submitter.dataset.confirm;
  if (question && !window.confirm(question)) return event.preventDefault();
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  if (form.method === "post") form.dataset.sent = "yes";
});
// Back from another page, it can be sent again.
window.addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
});

// A part that stays new is asked for with its page, and put in place of the old one; not while
// nobody looks.
const live = [...document.querySelectorAll("[data-live]")];
if (live.length > 0) {
  const every = 1000 * Math.min(...live.map((part) => Number(part.dataset.live)));
  const refresh = async () => {
    if (!document.hidden) {
      try {
        const response = await fetch(location.href, { headers: { accept: "text/html" } });
        if (response.ok && !response.redirected) {
          const page = new DOMParser().parseFromString(await response.text(), "text/html");
          for (const { id } of live) {
            const [old, now] = [document.getElementById(id), page.getElementById(id)];
            if (old && now && !old.contains(document.activeElement)) old.replaceWith(document.importNode(now, true));
          }
        }
      } catch {
        // The page is away; it is asked again.
      }
    }
    setTimeout(refresh, every);
  };
  setTimeout(refresh, every);
}

const form = document.getElementById("import");
if (form) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    delete form.dataset.sent;
    const file = document.getElementById("export").files[0];
    if (!file) return;
    const response = await fetch(form.dataset.action, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: await file.text(),
    });
    if (response.status === 413) {
      document.getElementById("import-result").textContent = form.dataset.large;
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const said = page.querySelector(".notice bdi, .notice") || page.querySelector("h1");
    document.getElementById("import-result").textContent = said ? said.textContent : response.statusText;
  });
}
