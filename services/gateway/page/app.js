// Ties the page together: the form, the address, the keys, theme and language.
import { Answer } from "./answer.js";
import { Problem, request, search } from "./api.js";
import { announce, byId, el, remember, remembered } from "./dom.js";
import { Facets } from "./facets.js";
import { failure, language, millis, onLanguage, setLanguage, t, translate } from "./i18n.js";
import { key, setKey } from "./key.js";
import { Panel } from "./panel.js";
import { Results } from "./search.js";

const K = 10;

const results = new Results(byId("results"), (cursor) => more(cursor));
const facets = new Facets(byId("facets"), () => submit());
const answer = new Answer(byId("answer"), results);
const panel = new Panel(byId("panel"), {
  names: () => collections.map((each) => each.name),
  onBuilt: () => loadCollections(),
  onSearch: async (name) => {
    await loadCollections();
    pick(name);
    byId("query").focus();
    if (byId("query").value.trim()) submit();
  },
});

let collections = [];
let problem = null;
let searching = new AbortController();

async function loadCollections() {
  const wanted = new URLSearchParams(location.search).get("c") ?? remembered("collection");
  try {
    const found = await request("/v1/collections");
    collections = found.collections;
    byId("key").hidden = !key();
    const before = byId("collection").value;
    fillPicker();
    pick([before, wanted, found.default].find((name) => collections.some((each) => each.name === name)));
    if (problem?.retry === loadCollections) showProblem(null);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showProblem(error.problem, loadCollections);
  }
}

function fillPicker() {
  const options = collections.map(({ name }) => el("option", { value: name }, name));
  byId("collection").replaceChildren(...(options.length ? options : [el("option", { value: "" }, t("no_collection"))]));
  byId("collection").disabled = !options.length;
}

function pick(name) {
  const chosen = collections.find((each) => each.name === name) ?? collections[0];
  if (chosen) byId("collection").value = chosen.name;
  describe();
}

/** One sentence on the collection that would be searched. */
function describe() {
  const chosen = collections.find((each) => each.name === byId("collection").value);
  const key = !chosen ? "lead_none" : chosen.documents ? "lead" : "lead_empty";
  byId("lead").textContent = t(key, chosen ?? {});
}

function submit() {
  const query = byId("query").value.trim();
  if (!query) return;
  const address = new URL(location.href);
  address.searchParams.set("q", query);
  address.searchParams.set("c", byId("collection").value);
  if (facets.text) address.searchParams.set("f", facets.text);
  else address.searchParams.delete("f");
  if (address.href !== location.href) history.pushState(null, "", address);
  run(query);
}

async function run(query) {
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  const collection = byId("collection").value || undefined;
  const asked = { query, collection, k: K, explain: true, filters: facets.tree };
  document.body.dataset.view = "results";
  document.title = `${query} · Riddle`;
  showProblem(null);
  answer.reset();
  results.wait();
  announce(t("searching"));
  try {
    const response = await search(asked, signal);
    results.show(response, query);
    results.body = asked;
    facets.ask(query, collection, response.results, collections.find((each) => each.name === collection)?.fields ?? {});
    announce(t("found", { n: response.results.length, ms: millis(response.timings_ms?.total ?? 0) }));
    if (byId("answering").checked && response.results.length) answer.ask(asked);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    results.reset();
    showProblem(error.problem, () => run(query));
  }
}

async function more(cursor) {
  byId("more").disabled = true;
  try {
    const page = await search({ ...results.body, cursor }, searching.signal);
    const index = results.cards.length;
    results.append(page.results, { ...results.response, next_cursor: page.next_cursor });
    results.focus(index);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    byId("more").disabled = false;
    showProblem(error.problem, () => more(cursor));
  }
}

/** Show a failure in words, with a way to try again where that can help; null takes it away. */
function showProblem(found, retry) {
  problem = found && { found, retry };
  const box = byId("problem");
  box.hidden = !found;
  if (!found) return box.replaceChildren();
  const wait = found.retry_after_ms ? ` ${t("retry_after", { s: Math.ceil(found.retry_after_ms / 1000) })}` : "";
  const again = new Problem(found).retryable
    ? el("button", { type: "button", class: "button quiet small", on: { click: () => retry() } }, t("retry"))
    : "";
  return box.replaceChildren(el("p", {}, failure(found) + wait), again);
}

/** Search what the address names; on the bare address, the start page. */
function followAddress() {
  const address = new URLSearchParams(location.search);
  const query = address.get("q") ?? "";
  byId("query").value = query;
  if (address.get("c")) pick(address.get("c"));
  facets.text = address.get("f") ?? "";
  if (query) return run(query);
  searching.abort();
  answer.reset();
  results.reset();
  document.body.dataset.view = "start";
  document.title = "Riddle";
  return undefined;
}

function showTheme() {
  const theme = document.documentElement.dataset.theme ?? "auto";
  byId("theme-label").textContent = t(`theme_${theme}`);
  byId("theme").title = t(`theme_${theme}`);
}

function nextTheme() {
  const root = document.documentElement;
  const next = { auto: "light", light: "dark", dark: "auto" }[root.dataset.theme ?? "auto"];
  if (next === "auto") delete root.dataset.theme;
  else root.dataset.theme = next;
  remember("theme", next);
  showTheme();
}

function showLanguage() {
  const button = byId("language");
  button.textContent = language() === "zh" ? "EN" : "中文";
  button.lang = language() === "zh" ? "en" : "zh-CN";
  button.setAttribute("aria-label", t("switch_language"));
  button.title = t("switch_language");
}

function onKey(event) {
  const typing = event.target.matches?.("input:not([type=checkbox]), select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && !panel.dialog.open) {
    event.preventDefault();
    byId("query").focus();
    byId("query").select();
  } else if (event.key === "Escape" && !panel.dialog.open) {
    if (answer.running) answer.stop();
    else if (!answer.unpin() && event.target === byId("query")) byId("query").blur();
    if (event.target === byId("query")) event.preventDefault(); // a search box would lose its text
  } else if (event.key === "ArrowDown" && event.target === byId("query") && results.cards.length) {
    event.preventDefault();
    results.focus(0);
  }
}

function listen() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  byId("collection").addEventListener("change", () => {
    remember("collection", byId("collection").value);
    describe();
    facets.reset();
    if (document.body.dataset.view === "results") submit();
  });
  byId("answering").checked = remembered("answering") !== "off";
  byId("answering").addEventListener("change", (event) => remember("answering", event.target.checked ? "on" : "off"));
  byId("add").addEventListener("click", () => panel.open());
  byId("key").addEventListener("click", () => {
    setKey("");
    location.reload();
  });
  byId("language").addEventListener("click", () => setLanguage(language() === "zh" ? "en" : "zh"));
  byId("theme").addEventListener("click", nextTheme);
  addEventListener("keydown", onKey);
  addEventListener("popstate", followAddress);
  addEventListener("pagehide", () => answer.stop()); // a page kept for going back would go on listening
}

onLanguage(() => {
  showLanguage();
  showTheme();
  if (!collections.length) fillPicker();
  describe();
  results.render();
  facets.render();
  answer.render();
  panel.translate();
  if (problem) showProblem(problem.found, problem.retry);
});

listen();
translate(document);
showLanguage();
showTheme();
await loadCollections();
await panel.load();
followAddress();
if (document.body.dataset.view === "start") byId("query").focus();
document.documentElement.dataset.ready = "true";
