// The script of the console: copies texts, asks before actions that cannot be undone, tests an
// account without leaving the page, switches colors at once, and refreshes the first page.
"use strict";
(() => {
  const say = (text) => {
    const live = document.getElementById("live");
    if (live) live.textContent = text;
  };

  const prepare = (root) => {
    for (const button of root.querySelectorAll("button.copy")) button.hidden = false;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    say(button.textContent);
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.dataset.confirm && !confirm(form.dataset.confirm)) {
      event.preventDefault();
      return;
    }
    if (!("inline" in form.dataset)) return;
    event.preventDefault();
    const said = form.querySelector("output");
    const button = form.querySelector("button");
    button.disabled = true;
    said.className = "said";
    said.textContent = "waiting…";
    try {
      const csrf = form.querySelector("[name=csrf]").value;
      const answer = await fetch(form.action, {
        method: "POST",
        headers: { "x-csrf-token": csrf },
        body: new URLSearchParams(new FormData(form)),
      });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const notice = page.getElementById("notice") || page.querySelector("main p");
      said.textContent = notice ? notice.textContent : `status ${answer.status}`;
      said.className = `said ${notice && notice.classList.contains("good") ? "good" : "bad"}`;
    } catch {
      said.textContent = "Baton does not answer";
      said.className = "said bad";
    }
    button.disabled = false;
  });

  const theme = document.getElementById("theme");
  if (theme) {
    theme.form.querySelector("button").hidden = true;
    theme.addEventListener("change", () => theme.form.submit());
  }

  const main = document.querySelector("main[data-live]");
  if (main) {
    setInterval(async () => {
      if (document.hidden || main.querySelector("details[open]")) return;
      if (main.contains(document.activeElement) && document.activeElement !== main) return;
      try {
        const answer = await fetch(location.href);
        if (!answer.ok) throw new Error(String(answer.status));
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        main.replaceChildren(...page.querySelector("main").childNodes);
        prepare(main);
        say("");
      } catch {
        say("Baton does not answer; these numbers are out of date.");
      }
    }, Number(main.dataset.live) * 1000);
  }

  prepare(document);
})();
