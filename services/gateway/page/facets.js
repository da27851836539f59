// Filters by the values that documents have: what there is to choose, how often, and what was chosen.
import { Problem, request } from "./api.js";
import { el } from "./dom.js";
import { t } from "./i18n.js";

const KEYS_SHOWN = 6;
const VALUES_SHOWN = 12;
const MOST_VALUES = 20; // as many as the server counts: a key with more is no choice but a name

/** The filter tree for what was chosen: any of a key's values, and all of the keys; null for nothing. */
export function treeOf(chosen) {
  const leaves = Object.entries(chosen)
    .filter(([, values]) => values.length)
    .map(([key, values]) => (values.length === 1 ? { type: "eq", key, value: values[0] } : { type: "in", key, value: values }));
  if (leaves.length < 2) return leaves[0] ?? null;
  return { type: "and", filters: leaves };
}

export class Facets {
  /** `onChange` is called when the choice has changed. */
  constructor(root, onChange) {
    this.root = root;
    this.onChange = onChange;
    this.chosen = {};
    this.counts = {};
    this.asking = new AbortController();
    this.render();
  }

  get tree() {
    return treeOf(this.chosen);
  }

  /** What was chosen as text for the address, and back; empty for nothing. */
  get text() {
    return this.tree ? JSON.stringify(this.chosen) : "";
  }

  set text(text) {
    this.chosen = parsed(text);
    this.counts = {};
    this.render();
  }

  /** Count the values of the keys that these results and these declared fields have; a failure leaves no choice. */
  async ask(query, collection, results, fields) {
    this.asking.abort();
    this.asking = new AbortController();
    const found = [...Object.keys(this.chosen), ...Object.keys(fields), ...results.flatMap(({ metadata }) => Object.keys(metadata))];
    const facets = [...new Set(found)].slice(0, 10);
    this.counts = {};
    try {
      if (facets.length) {
        const ranking = { rerank: { depth: 0 }, fusion: { weights: { lexical: 1, dense: 0 } }, diversity: 0 };
        const body = { query, collection, k: 1, facets, ranking, filters: this.tree };
        const response = await request("/v1/search", { method: "POST", body, signal: this.asking.signal, logged: false });
        this.counts = response.facets ?? {};
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Problem)) throw error;
    }
    this.render();
  }

  render() {
    const groups = Object.keys({ ...this.chosen, ...this.counts })
      .map((key) => this.group(key))
      .filter(Boolean)
      .slice(0, KEYS_SHOWN);
    this.root.hidden = !groups.length;
    this.root.replaceChildren(
      el("h2", { class: "visually-hidden" }, t("filters")),
      ...groups,
      this.tree ? el("button", { type: "button", class: "link", on: { click: () => this.clear() } }, t("clear_filters")) : "",
    );
  }

  /** One key with its values; null where there is nothing to choose between. */
  group(key) {
    const counts = this.counts[key] ?? [];
    const chosen = this.chosen[key] ?? [];
    const choice = counts.length > 1 && counts.length < MOST_VALUES;
    if (!choice && !chosen.length) return null;
    const values = new Map(chosen.map((value) => [value, null]));
    for (const { value, count } of choice ? counts.slice(0, VALUES_SHOWN) : []) values.set(value, count);
    for (const { value, count } of counts) if (values.has(value)) values.set(value, count);
    const chip = ([value, count]) =>
      el(
        "button",
        {
          type: "button",
          class: "chip",
          "aria-pressed": `${chosen.includes(value)}`,
          on: { click: () => this.toggle(key, value) },
        },
        el("span", {}, `${value}`),
        count === null ? null : el("small", {}, count.toLocaleString()),
      );
    return el("div", { class: "facet", role: "group", "aria-label": key }, el("span", { class: "facet-key" }, key), [...values].map(chip));
  }

  toggle(key, value) {
    const before = this.chosen[key] ?? [];
    const after = before.includes(value) ? before.filter((each) => each !== value) : [...before, value];
    this.chosen = { ...this.chosen, [key]: after };
    if (!after.length) delete this.chosen[key];
    this.render();
    this.onChange();
  }

  clear() {
    this.chosen = {};
    this.render();
    this.onChange();
  }

  reset() {
    this.asking.abort();
    this.text = "";
  }
}

/** A choice from the address: lists of plain values by key; anything else there is none. */
function parsed(text) {
  try {
    const found = JSON.parse(text || "{}");
    const plain = (value) => ["string", "number", "boolean"].includes(typeof value);
    return Object.fromEntries(Object.entries(found).filter(([, values]) => Array.isArray(values) && values.length && values.every(plain)));
  } catch {
    return {};
  }
}
