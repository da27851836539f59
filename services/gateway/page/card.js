// One passage on the page: its text with the query's words marked and cited sentences ready to be lit.
import { tell } from "./api.js";
import { el, reveal } from "./dom.js";
import { stageTable } from "./explain.js";
import { number, t } from "./i18n.js";
import { matches, pieces, range } from "./text.js";
import { thumbs } from "./thumbs.js";

/** What people call the document that a passage is from. */
export const titleOf = (result) => result.title || result.source || result.document_id;

/** Heading path without a first heading that only repeats the title. */
function pathOf(result) {
  const headings = (result.headings ?? []).filter(Boolean);
  return headings[0] === result.title ? headings.slice(1) : headings;
}

export class Card {
  /** `position` counts from 1; `terms` are what to mark; `scales` as of explain.js. */
  constructor(position, result, terms, scales) {
    this.position = position;
    this.result = result;
    this.terms = terms;
    this.scales = scales;
    this.citations = [];
    this.lit = null;
    this.explained = false;
    this.opened = false;
    this.clicked = false;
    this.rated = 0;
    this.node = el("li", { class: "result", tabindex: "-1", data: { passage: result.passage_id } });
    this.render();
  }

  render() {
    const { result, position } = this;
    const click = () => this.click();
    this.text = el("div", { class: "passage", on: { click } });
    const more = () => {
      this.open(!this.opened);
      this.click();
    };
    this.more = el("button", { type: "button", class: "link", hidden: true, on: { click: more } });
    this.why = el(
      "button",
      { type: "button", class: "link why", "aria-expanded": "false", on: { click: () => this.explain(!this.explained) } },
      t("explain_one"),
    );
    this.panel = el("div", { class: "explain", hidden: true });
    const title = titleOf(result);
    this.node.replaceChildren(
      el(
        "header",
        {},
        el("span", { class: "position", "aria-hidden": "true" }, `${position}`),
        el(
          "div",
          { class: "where" },
          el("h3", { on: { click } }, title),
          this.crumbs(),
        ),
        this.score(),
      ),
      result.context ? el("p", { class: "context" }, result.context) : "",
      this.text,
      el(
        "footer",
        {},
        result.explain ? this.why : null,
        this.more,
        result.source && result.source !== title ? el("span", { class: "source", title: result.source }, result.source) : null,
        (this.rating = el("span", {})),
      ),
      this.panel,
    );
    this.node.setAttribute("aria-label", `${position}. ${[title, ...pathOf(result)].join(" › ")}`);
    this.draw();
    this.explain(this.explained);
    this.open(this.opened);
    this.rate(this.rated);
  }

  /** Somebody took this passage up, in whatever way; told once. */
  click() {
    if (this.clicked) return;
    this.clicked = true;
    this.tell({ kind: "click" });
  }

  /** Show how the passage was rated, where ratings are taken at all. */
  rate(value) {
    this.rated = value;
    if (!this.result.served) return;
    const onRate = (next) => {
      this.rated = next;
      this.tell({ kind: "rating", value: next });
    };
    const shown = thumbs(t("rate_passage", { n: this.position }), value, onRate);
    this.rating.replaceWith(shown);
    this.rating = shown;
  }

  tell(feedback) {
    const { served, passage_id: passageId } = this.result;
    if (served) tell({ ...feedback, request_id: served, passage_id: passageId, rank: this.position });
  }

  crumbs() {
    const parts = pathOf(this.result).map((heading) => el("span", {}, heading));
    if (this.result.page) parts.push(el("span", { class: "page" }, t("page", { n: this.result.page })));
    return parts.length ? el("p", { class: "crumbs" }, parts) : null;
  }

  score() {
    const { score, scored_by: by } = this.result;
    return el(
      "div",
      { class: "score" },
      el("span", { class: "visually-hidden" }, `${t("score")} `),
      el("b", {}, number(score)),
      by ? el("small", {}, t(`scored_by.${by}`, {}, by)) : null,
    );
  }

  /** Write the passage anew: marks, cited sentences, the lit one. */
  draw() {
    const { text, offsets } = this.result;
    const cited = this.citations
      .map((citation) => ({ id: citation.id, range: range(text, citation.source_span, offsets[0]) }))
      .filter(({ range: [start, end] }) => end > start);
    this.text.replaceChildren(
      ...pieces(text, matches(text, this.terms), cited).map((piece) => {
        const inner = piece.marked ? el("mark", {}, piece.text) : document.createTextNode(piece.text);
        if (!piece.ids.length) return inner;
        const lit = piece.ids.includes(this.lit);
        return el("span", { class: lit ? "sentence lit" : "sentence", data: { cites: piece.ids.join(" ") } }, inner);
      }),
    );
    this.node.classList.toggle("cited", cited.length > 0);
  }

  cite(citations) {
    this.citations = citations;
    this.draw();
  }

  /** Light up the sentence of one citation, or none for null. */
  light(id) {
    const own = id !== null && this.citations.some((citation) => citation.id === id);
    const next = own ? id : null;
    if (next === this.lit) return;
    this.lit = next;
    this.draw();
    this.node.classList.toggle("lit", own);
    if (own && this.hidesLit()) this.open(true);
  }

  hidesLit() {
    const last = [...this.text.querySelectorAll(".lit")].at(-1);
    return !this.opened && last && last.getBoundingClientRect().bottom > this.text.getBoundingClientRect().bottom - 24;
  }

  /** The words of one citation's sentence. */
  sentence(citation) {
    const { text, offsets } = this.result;
    return text.slice(...range(text, citation.source_span, offsets[0]));
  }

  /** Bring the lit sentence, or the passage, into view. */
  show() {
    reveal(this.text.querySelector(".lit") ?? this.node, "center");
    this.node.focus({ preventScroll: true });
  }

  open(opened) {
    this.opened = opened;
    this.text.classList.toggle("open", opened);
    this.more.textContent = t(opened ? "less_text" : "more_text");
    this.measure();
  }

  /** Offer the rest of a text only where some is hidden; needs the card to be on the page. */
  measure() {
    const hides = this.text.scrollHeight > this.text.clientHeight + 4;
    if (!this.opened) this.text.classList.toggle("clipped", hides);
    else this.text.classList.remove("clipped");
    this.more.hidden = !(hides || (this.opened && this.text.scrollHeight > 260));
  }

  explain(explained) {
    if (!this.result.explain) return;
    this.explained = explained;
    this.why.setAttribute("aria-expanded", `${explained}`);
    this.panel.hidden = !explained;
    this.panel.replaceChildren(explained ? stageTable(this.position, this.result.explain, this.scales) : "");
  }
}
