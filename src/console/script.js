// Copies, and keeps people from leaving a secret behind. Without it everything works by hand.
"use strict";
const said = document.getElementById("copied");
const secret = document.getElementById("secret");

function copyBySelection(field) {
  field.focus();
  field.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  }
}

// The Clipboard API is missing on plain HTTP, and can be refused.
async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    return copyBySelection(field);
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copy);
    const done = await copy(field);
    if (!done) {
      field.focus();
      field.select();
    }
    // Emptied first, so that the same text is announced again.
    said.textContent = "";
    setTimeout(() => (said.textContent = done ? said.dataset.done : said.dataset.failed), 50);
  });
}

if (secret) {
  secret.focus();
  secret.select();
  let stored = false;
  document.getElementById("stored").addEventListener("click", () => (stored = true));
  addEventListener("beforeunload", (event) => stored || event.preventDefault());
  // A page that the browser keeps for going back has no secret any more.
  addEventListener("pagehide", () => {
    for (const field of document.querySelectorAll("input[readonly]")) field.value = "";
  });
  addEventListener("pageshow", (event) => event.persisted && location.replace(document.getElementById("stored").href));
}

// A date that is picked is the choice.
const date = document.querySelector("input[type=date]");
date?.addEventListener("input", () => (document.querySelector("input[value=date]").checked = true));
