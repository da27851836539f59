// Which language the interface speaks, and how it writes numbers, times and sizes.
import en from "./en.js";
import zh from "./zh.js";
import { remember } from "./dom.js";

const TABLES = { en, zh };
const listeners = [];
let current = document.documentElement.lang.startsWith("zh") ? "zh" : "en";

export const language = () => current;

/** The text for `key`; dots lead into tables. A key that a table lacks gives `fallback`, else the key. */
export function t(key, about = {}, fallback = key) {
  let found = TABLES[current];
  for (const part of key.split(".")) found = found?.[part];
  if (found === undefined) return fallback;
  return typeof found === "function" ? found(about) : found;
}

/** Call `listener` whenever the language changes. */
export function onLanguage(listener) {
  listeners.push(listener);
}

export function setLanguage(next) {
  current = next;
  remember("language", next);
  document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
  translate(document);
  for (const listener of listeners) listener();
}

/** Fill the elements below `root` that name their text in the markup. */
export function translate(root) {
  for (const node of root.querySelectorAll("[data-i18n]")) node.textContent = t(node.dataset.i18n);
  for (const node of root.querySelectorAll("[data-i18n-label]")) node.setAttribute("aria-label", t(node.dataset.i18nLabel));
  for (const node of root.querySelectorAll("[data-i18n-placeholder]")) node.placeholder = t(node.dataset.i18nPlaceholder);
}

const locale = () => (current === "zh" ? "zh-CN" : "en");

/** Digits that tell: 0.912, 11.2, 0.0325, -7.41. */
export function number(value) {
  const options = Math.abs(value) >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return value.toLocaleString(locale(), options);
}

export function millis(ms) {
  if (ms >= 1000) return `${(ms / 1000).toLocaleString(locale(), { maximumFractionDigits: 1 })} s`;
  return `${ms.toLocaleString(locale(), { maximumFractionDigits: ms < 10 ? 1 : 0 })} ms`;
}

export function percent(share) {
  return share.toLocaleString(locale(), { style: "percent", maximumFractionDigits: 0 });
}

export function size(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toLocaleString(locale(), { maximumFractionDigits: value < 10 && unit ? 1 : 0 })} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 90) return t("seconds", { n: Math.max(1, Math.round(seconds)) });
  return t("minutes", { n: Math.round(seconds / 60) });
}

/** What a failure says, in the interface's language where the server said nothing itself. */
export function failure(problem) {
  if (problem.code === "unreachable") return t("unreachable");
  return problem.detail || problem.title || t("failed", { status: problem.status });
}
