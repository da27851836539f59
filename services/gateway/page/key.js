// The API key: asked for when the server wants one, kept as long as the tab, shown to nobody else.
import { el } from "./dom.js";
import { t } from "./i18n.js";

const NAME = "riddle.key";
let held = kept();
let asking = null;

function kept() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return ""; // storage is blocked: the key lasts as long as the page
  }
}

/** The key that requests are sent with; empty for none. */
export const key = () => held;

export function setKey(next) {
  held = next;
  try {
    if (next) sessionStorage.setItem(NAME, next);
    else sessionStorage.removeItem(NAME);
  } catch {
    // storage is blocked: the key lasts as long as the page
  }
}

/**
 * Whether there is another key to try than `refused`: asks the user, once for all who wait.
 * False when the user closes the question.
 */
export async function askKey(refused) {
  if (held !== refused) return true;
  asking ??= question(refused !== "").finally(() => {
    asking = null;
  });
  const given = await asking;
  if (given) setKey(given);
  return Boolean(given);
}

function question(again) {
  const input = el("input", {
    id: "key-input",
    class: "input",
    type: "password",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-hint",
  });
  const dialog = el(
    "dialog",
    { class: "panel key-panel", id: "key-panel", "aria-labelledby": "key-title" },
    el("header", {}, el("h2", { id: "key-title" }, t("key_title"))),
    el(
      "form",
      { method: "dialog", class: "key-form" },
      el("label", { for: "key-input" }, t("key_label")),
      input,
      el("p", { id: "key-hint", class: again ? "notice bad" : "note" }, t(again ? "key_refused" : "key_hint")),
      el("button", { type: "submit", class: "button primary", value: "given" }, t("key_use")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "given" ? input.value.trim() : "");
    });
  });
}
