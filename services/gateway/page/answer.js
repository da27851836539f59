// The answer as it is written: its words as they come, its citations, and how it ended.
import { Problem, stamped, stream, tell } from "./api.js";
import { announce, el } from "./dom.js";
import { failure, millis, t } from "./i18n.js";
import { Peek } from "./peek.js";
import { laidOut, lastWord, marked } from "./prose.js";
import { range } from "./text.js";
import { thumbs } from "./thumbs.js";

export class Answer {
  /** `results` is the list of passages that citations point into. */
  constructor(root, results) {
    this.root = root;
    this.results = results;
    this.peek = new Peek();
    this.reset();
  }

  reset() {
    this.stop();
    this.peek.hide();
    this.control = null;
    this.state = "idle";
    this.text = "";
    this.citations = [];
    this.final = null;
    this.problem = null;
    this.served = null;
    this.rated = 0;
    this.pinned = null;
    this.lit = null;
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  get running() {
    return this.state === "waiting" || this.state === "writing";
  }

  /** End the stream; the server, seeing the connection close, stops writing. What has come stays. */
  stop() {
    this.control?.abort();
  }

  async ask(body) {
    this.reset();
    this.body = body;
    this.state = "waiting";
    const control = new AbortController();
    this.control = control;
    this.root.hidden = false;
    this.render();
    const onServed = (id) => {
      if (control === this.control) this.served = id;
    };
    try {
      for await (const { event, data } of stream("/v1/answer", body, control.signal, onServed)) {
        if (control !== this.control) return;
        this.take(event, data);
      }
      if (this.running) this.fail({ code: "cut_off", detail: t("cut_off"), retryable: true });
    } catch (error) {
      if (control !== this.control) return;
      if (error.name === "AbortError") this.end("stopped", t("stopped"));
      else if (error instanceof Problem) this.fail(error.problem);
      else throw error;
    }
  }

  take(event, data) {
    if (event === "search_results") {
      this.results.append(stamped(data.results ?? [], this.served));
    } else if (event === "message") {
      this.write(data.delta);
    } else if (event === "citation") {
      this.citations.push(data);
      this.results.cite(this.citations);
      this.compose();
    } else if (event === "final_answer") {
      this.final = data;
      this.text = data.answer;
      this.citations = data.citations;
      this.results.cite(this.citations);
      this.end("done", data.abstained ? t("abstained") : t("answered", { n: this.citations.length }));
    } else if (event === "error") {
      this.fail(data);
    }
  }

  end(state, spoken) {
    this.state = state;
    this.render();
    announce(spoken);
  }

  fail(problem) {
    this.problem = problem;
    this.end("failed", failure(problem));
  }

  /** A delta goes behind the last text node, so that what is read, marked or focused stays as it is. */
  write(delta) {
    this.text += delta;
    if (this.state === "waiting") {
      this.state = "writing";
      this.render();
    } else if (/[`*]/.test(this.text)) {
      this.compose();
    } else {
      this.tail.data += delta;
    }
  }

  render() {
    if (this.state === "idle") return;
    this.root.dataset.state = this.state;
    // an abstention says so in its own words: they are shown as what they are, not as an answer
    const kind = this.final?.abstained ? "prose abstained" : "prose";
    this.prose = el("div", { class: kind, "aria-live": "polite", "aria-busy": `${this.running}` });
    this.list = el("div", { class: "sources-box" });
    this.root.replaceChildren(
      el("header", {}, el("h2", { id: "answer-title" }, t("answer")), this.engine(), this.button()),
      ...this.notices(),
      this.prose,
      this.list,
      this.facts(),
    );
    this.compose();
  }

  engine() {
    const name = this.final?.engine ?? "none"; // nothing was written for want of evidence
    if (name === "none") return null;
    return el("span", { class: "engine" }, name === "extractive" ? t("engine_extractive") : t("engine", { name }));
  }

  button() {
    if (this.running) {
      const stop = { type: "button", id: "stop", class: "button quiet small", on: { click: () => this.stop() } };
      return el("button", stop, el("i", { class: "square", "aria-hidden": "true" }), t("stop"));
    }
    const again = this.state === "stopped" || (this.state === "failed" && new Problem(this.problem).retryable);
    if (!again) return null;
    return el("button", { type: "button", class: "button quiet small", on: { click: () => this.ask(this.body) } }, t("retry"));
  }

  notices() {
    const found = [];
    if (this.state === "stopped") found.push(el("p", { class: "notice" }, t("stopped")));
    if (this.problem) found.push(el("p", { class: "notice bad", role: "alert" }, failure(this.problem)));
    const known = this.results.response?.degraded ?? [];
    const degraded = (this.final?.degraded ?? []).filter((part) => !known.includes(part));
    if (degraded.length) {
      const what = degraded.map((part) => t(`degraded_parts.${part}`, {}, part)).join("; ");
      found.push(el("p", { class: "notice" }, t("degraded", { what })));
    }
    return found;
  }

  facts() {
    const timings = this.final?.timings_ms ?? {};
    const facts = [];
    const first = timings.first_delta ?? timings.first_token ?? timings.ttft;
    if (first !== undefined) facts.push(t("first_words", { ms: millis(first) }));
    const tokens = this.final?.usage?.completion_tokens;
    if (tokens) facts.push(t("tokens", { n: tokens }));
    return el("footer", {}, el("p", { class: "facts" }, facts.map((fact) => el("span", {}, fact))), this.rating());
  }

  /** What somebody thinks of the answer, once it is complete and where the server wants to know. */
  rating() {
    if (this.state !== "done" || !this.served) return null;
    return thumbs(t("rate_answer"), this.rated, (value) => {
      this.rated = value;
      tell({ kind: "answer", request_id: this.served, value });
    });
  }

  /** Write the prose anew: text, claims, a numbered chip behind each cited stretch. */
  compose() {
    const focused = document.activeElement?.dataset?.cite;
    const nodes = [];
    let at = 0;
    const stretches = marked(this.text);
    for (const { start, end, citations } of this.claims()) {
      const from = Math.max(start, at);
      const to = Math.max(from, end);
      const last = lastWord(this.text, from, to);
      const cites = citations.map((citation) => citation.id).join(" ");
      const claim = (begin, stop) => el("span", { class: "claim", data: { cites } }, laidOut(this.text, begin, stop, stretches));
      nodes.push(...laidOut(this.text, at, from, stretches), claim(from, last));
      nodes.push(el("span", { class: "glued" }, claim(last, to), citations.map((citation) => this.chip(citation))));
      at = to;
    }
    nodes.push(...laidOut(this.text, at, this.text.length, stretches));
    this.tail = document.createTextNode("");
    const waits = this.state === "waiting" ? el("span", { class: "thinking" }, t("thinking")) : null;
    const caret = this.running ? el("span", { class: "caret", "aria-hidden": "true" }) : null;
    this.prose.replaceChildren(...[...nodes, this.tail, waits, caret].filter((node) => node !== null));
    this.sources();
    this.light(this.lit);
    if (focused) this.prose.querySelector(`button[data-cite="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  /** Citations grouped by the stretch of the answer that they stand behind, in order. */
  claims() {
    const groups = new Map();
    for (const citation of this.citations) {
      const [start, end] = range(this.text, citation.answer_span);
      const key = `${start}-${end}`;
      if (!groups.has(key)) groups.set(key, { start, end, citations: [] });
      groups.get(key).citations.push(citation);
    }
    return [...groups.values()].sort((a, b) => a.end - b.end || a.start - b.start);
  }

  chip(citation) {
    const about = this.results.describe(citation.passage_id);
    const verdict = t(`verdict.${citation.verdict}`, {}, citation.verdict);
    const label = t("cite", { n: about.n, title: about.title, verdict });
    return el(
      "button",
      { type: "button", class: "chip", title: label, "aria-label": label, data: { cite: citation.id }, on: this.reactions(citation) },
      `${about.n}`,
    );
  }

  reactions(citation) {
    const on = (event) => {
      this.light(citation.id);
      const card = this.results.cardOf(citation.passage_id);
      const from = this.results.describe(citation.passage_id).title;
      if (card) this.peek.show(event.currentTarget, card.text.querySelector(".lit") ?? card.node, card.sentence(citation), from);
    };
    const off = () => {
      this.light(this.pinned);
      this.peek.hide();
    };
    const click = () => {
      this.peek.hide();
      this.pinned = citation.id;
      this.light(citation.id);
      const card = this.results.cardOf(citation.passage_id);
      card?.show();
      card?.click();
    };
    return { mouseenter: on, focus: on, mouseleave: off, blur: off, click };
  }

  /** Let go of the sentence that a click keeps lit. Returns whether there was one. */
  unpin() {
    const was = this.pinned !== null;
    this.pinned = null;
    this.light(null);
    return was;
  }

  light(id) {
    this.lit = id;
    this.results.light(id);
    for (const node of this.root.querySelectorAll("[data-cites], [data-cite]")) {
      const ids = (node.dataset.cites ?? node.dataset.cite).split(" ");
      node.classList.toggle("lit", id !== null && ids.includes(id));
    }
  }

  /** One line for each cited passage, in the order of first mention, and what the verdicts mean. */
  sources() {
    const seen = new Map();
    for (const citation of this.citations) {
      const known = seen.get(citation.passage_id);
      if (!known) seen.set(citation.passage_id, { citation, verdicts: new Set([citation.verdict]) });
      else known.verdicts.add(citation.verdict);
    }
    if (!seen.size) return this.list.replaceChildren();
    const rows = [...seen.values()].map(({ citation, verdicts }) => {
      const about = this.results.describe(citation.passage_id);
      const place = [about.title, about.headings.at(-1)].filter((part, index, all) => part && all.indexOf(part) === index);
      return el(
        "li",
        {},
        el(
          "button",
          { type: "button", class: "source-row", data: { cite: citation.id }, on: this.reactions(citation) },
          el("span", { class: "chip", "aria-hidden": "true" }, `${about.n}`),
          el("span", { class: "source-title" }, place.join(" › "), about.page ? ` · ${t("page", { n: about.page })}` : ""),
          [...verdicts].map((verdict) => el("span", { class: `verdict ${verdict}` }, t(`verdict.${verdict}`, {}, verdict))),
        ),
      );
    });
    const kinds = [...new Set(this.citations.map((citation) => citation.verdict))];
    const notes = kinds.map((kind) => el("p", { class: "note" }, t(`verdict_note.${kind}`, {}, "")));
    return this.list.replaceChildren(el("h3", {}, t("sources")), el("ul", { class: "sources" }, rows), ...notes);
  }
}
