// The list of passages: what was found, how it was ranked, and which sentences an answer rests on.
import { Card, titleOf } from "./card.js";
import { byId, el, reveal } from "./dom.js";
import { scalesOf, timingTable } from "./explain.js";
import { millis, t } from "./i18n.js";
import { terms } from "./text.js";

export class Results {
  /** `onMore` is called with the cursor of the next page. */
  constructor(root, onMore) {
    this.root = root;
    this.onMore = onMore;
    this.explained = false;
    this.reset();
    addEventListener("resize", () => this.cards.forEach((card) => card.measure()));
  }

  reset() {
    this.response = null;
    this.cards = [];
    this.citations = [];
    this.extra = [];
    this.waiting = false;
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  /** A search has begun. */
  wait() {
    this.reset();
    this.waiting = true;
    this.root.hidden = false;
    this.root.setAttribute("aria-busy", "true");
    const ghost = () => el("li", { class: "result ghost", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
    this.root.replaceChildren(el("h2", { id: "results-title" }, t("searching")), el("ol", {}, ghost(), ghost(), ghost()));
  }

  show(response, query) {
    this.waiting = false;
    this.response = response;
    this.query = query;
    this.render();
  }

  /** Passages of a further page, or that an answer cites and the list lacks; known ones are left out. */
  append(results, response = this.response) {
    const known = new Set(this.response.results.map((result) => result.passage_id));
    const fresh = results.filter((result) => !known.has(result.passage_id));
    if (!fresh.length && response === this.response) return;
    this.response = { ...response, results: [...this.response.results, ...fresh] };
    this.render();
  }

  render() {
    if (this.waiting) return this.wait();
    if (!this.response) return undefined;
    const { results } = this.response;
    const before = new Map(this.cards.map((card) => [card.result.passage_id, card]));
    const scales = scalesOf(results);
    const marks = terms(this.query);
    this.root.hidden = false;
    this.root.removeAttribute("aria-busy");
    this.cards = results.map((result, index) => {
      const card = new Card(index + 1, result, marks, scales);
      card.explained = before.get(result.passage_id)?.explained ?? this.explained;
      card.opened = before.get(result.passage_id)?.opened ?? false;
      card.clicked = before.get(result.passage_id)?.clicked ?? false;
      card.rate(before.get(result.passage_id)?.rated ?? 0);
      card.cite(this.citations.filter((citation) => citation.passage_id === result.passage_id));
      return card;
    });
    this.root.replaceChildren(
      this.heading(),
      ...this.notices(),
      this.how(),
      results.length ? el("ol", { on: { keydown: (event) => this.move(event) } }, this.cards.map((card) => card.node)) : this.nothing(),
      this.further(),
    );
    if (this.cards.length) this.cards[0].node.tabIndex = 0;
    for (const card of this.cards) {
      card.explain(card.explained);
      card.open(card.opened);
    }
    return undefined;
  }

  heading() {
    const { results, timings_ms: timings, cache, generation } = this.response;
    const facts = [
      timings?.total === undefined ? null : t("found", { n: results.length, ms: millis(timings.total) }),
      cache === "hit" ? t("from_cache") : null,
      generation ? t("generation", { name: generation }) : null,
    ].filter(Boolean);
    const explains = results.some((result) => result.explain);
    return el(
      "header",
      { class: "results-head" },
      el("h2", { id: "results-title" }, t("results")),
      el("p", { class: "facts" }, facts.map((fact) => el("span", {}, fact))),
      explains
        ? el(
            "button",
            {
              type: "button",
              id: "explain",
              class: "button quiet small",
              "aria-expanded": `${this.explained}`,
              "aria-controls": "how",
              on: { click: () => this.explainAll(!this.explained) },
            },
            t("explain_all"),
          )
        : null,
    );
  }

  notices() {
    const notes = [];
    const { correction } = this.response;
    if (correction) {
      notes.push(t(correction.searched ? "searched_too" : "meant", { query: correction.query }));
    }
    const degraded = this.response.degraded ?? [];
    if (degraded.length) {
      const what = degraded.map((part) => t(`degraded_parts.${part}`, {}, part)).join("; ");
      notes.push(t("degraded", { what }));
    }
    return notes.map((note) => el("p", { class: "notice", role: "note" }, note));
  }

  how() {
    const timings = this.response.timings_ms;
    const shown = this.explained && timings;
    return el("div", { id: "how", class: "how", hidden: !shown }, shown ? timingTable(timings) : null);
  }

  nothing() {
    return el("div", { class: "nothing" }, el("p", {}, t("none_found")), el("p", { class: "note" }, t("none_found_hint")));
  }

  further() {
    const cursor = this.response.next_cursor;
    if (!cursor) return "";
    return el(
      "button",
      { type: "button", id: "more", class: "button quiet", on: { click: () => this.onMore(cursor) } },
      t("more_results"),
    );
  }

  explainAll(explained) {
    this.explained = explained;
    for (const card of this.cards) card.explained = explained;
    this.render();
    byId("explain")?.focus();
  }

  /** Arrow keys go from passage to passage, Enter opens the one in focus. */
  move(event) {
    const index = this.cards.findIndex((card) => card.node.contains(document.activeElement));
    if (index < 0) return;
    const here = document.activeElement === this.cards[index].node;
    if (event.key === "Enter" && here) {
      this.cards[index].explain(!this.cards[index].explained);
      this.cards[index].click();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      this.focus(index + (event.key === "ArrowDown" ? 1 : -1));
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Put the focus on the passage at this index; before the first lies the search box. */
  focus(index) {
    if (index < 0) return byId("query").focus();
    const card = this.cards[Math.min(index, this.cards.length - 1)];
    if (!card) return undefined;
    for (const each of this.cards) each.node.tabIndex = each === card ? 0 : -1;
    card.node.focus({ preventScroll: true });
    return reveal(card.node);
  }

  /** All citations known so far; each passage marks the sentences that are cited from it. */
  cite(citations) {
    this.citations = citations;
    for (const card of this.cards) {
      card.cite(citations.filter((citation) => citation.passage_id === card.result.passage_id));
    }
  }

  /** Light up the sentence of this citation, or none for null. */
  light(id) {
    for (const card of this.cards) card.light(id);
  }

  cardOf(passageId) {
    return this.cards.find((card) => card.result.passage_id === passageId) ?? null;
  }

  /** What an answer says of a passage: its number in the list, its title, its page. */
  describe(passageId) {
    const card = this.cardOf(passageId);
    if (!card) return { n: "?", title: passageId, page: null, headings: [] };
    return { n: card.position, title: titleOf(card.result), page: card.result.page, headings: card.result.headings ?? [] };
  }
}
