// How the text of an answer is laid out: code and emphasis that models mark with signs, without changing the text.
import { el } from "./dom.js";

const MARKED = /```[^\n]*\n[\s\S]*?(?:\n```|$)|`[^`\n]+`|\*\*[^*\n]+\*\*/g;

/** Stretches of `text` between signs: {start, end, kind, from, to}, where from..to is what stands between them. */
export function marked(text) {
  return [...text.matchAll(MARKED)].map((match) => {
    const start = match.index;
    const end = start + match[0].length;
    if (match[0].startsWith("```")) {
      const from = text.indexOf("\n", start) + 1;
      return { start, end, kind: "block", from, to: match[0].endsWith("\n```") ? Math.max(from, end - 4) : end };
    }
    const signs = match[0].startsWith("**") ? 2 : 1;
    return { start, end, kind: signs === 2 ? "strong" : "code", from: start + signs, to: end - signs };
  });
}

/**
 * Nodes for text[from..to). The signs themselves stay in the page, unseen, so that what is
 * copied, and every offset into it, is the text as it was written.
 */
export function laidOut(text, from, to, stretches) {
  const nodes = [];
  let at = from;
  const take = (end, make) => {
    const stop = Math.min(end, to);
    if (stop > at) nodes.push(make(text.slice(at, stop)));
    at = Math.max(at, stop);
  };
  const plain = (part) => document.createTextNode(part);
  const sign = (part) => el("span", { class: "sign" }, part);
  for (const { start, end, kind, from: inner, to: outer } of stretches) {
    if (end <= from || start >= to) continue;
    take(start, plain);
    take(inner, sign);
    take(outer, (part) => el(kind === "strong" ? "strong" : "code", { class: kind }, part));
    take(end, sign);
  }
  take(to, plain);
  return nodes;
}

/** Where the last word of text[from..to) begins, so that it can be kept on one line with what follows it. */
export function lastWord(text, from, to) {
  const word = /(?:\p{Script=Han}|[^\s\p{Script=Han}]{1,24})[^\p{L}\p{N}\s]?$/u.exec(text.slice(from, to));
  return word ? from + word.index : to;
}
