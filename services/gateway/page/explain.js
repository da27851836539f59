// Shows how a passage got its place, stage by stage, and where the time of a search went.
import { el } from "./dom.js";
import { millis, number, t } from "./i18n.js";

export const STAGES = ["lexical", "dense", "fused", "late", "ltr", "rerank", "diversity"];
/** Stages that most servers do without: they have a row when they saw any of the passages shown. */
const SOMETIMES = ["late", "ltr", "diversity"];
const TIMES = ["describe", "cache", "embed", "lexical", "dense", "fuse", "late", "fetch", "ltr", "rerank", "blend", "diversity"];

const bar = (share, kind) => el("span", { class: `bar ${kind}`, "aria-hidden": "true" }, el("i", { vars: { "--share": share.toFixed(3) } }));

/**
 * Table of one passage's stages. `scales` maps each stage to {low, high} over the passages shown,
 * so that a bar compares a passage with its neighbours and never one stage with another.
 */
export function stageTable(position, stages, scales) {
  const told = STAGES.filter((stage) => scales[stage] || !SOMETIMES.includes(stage));
  const rows = told.map((stage) => {
    const [name, meaning] = t(`stages.${stage}`);
    const seen = stages[stage];
    const head = el("th", { scope: "row" }, name, el("small", {}, meaning));
    if (!seen) {
      const why = stage === "rerank" ? t("not_reranked") : t("not_seen");
      return el("tr", { class: "unseen" }, head, el("td", {}, t("unranked")), el("td", { colspan: 2 }, why));
    }
    return el(
      "tr",
      { data: { stage } },
      head,
      el("td", { class: "digits" }, `${seen.rank}`),
      el("td", { class: "digits" }, number(seen.score)),
      el("td", { class: "bar-cell" }, bar(shareOf(seen.score, scales[stage]), stage)),
    );
  });
  return el(
    "table",
    { class: "stages" },
    el("caption", { class: "visually-hidden" }, t("explain_caption", { n: position })),
    el("thead", {}, el("tr", {}, headings(["stage", "rank", "score"]), el("td", { class: "bar-cell" }))),
    el("tbody", {}, rows),
  );
}

/** Lowest and highest score of each stage among these results. */
export function scalesOf(results) {
  const scales = {};
  for (const stage of STAGES) {
    const scores = results.map((result) => result.explain?.[stage]?.score).filter((score) => score !== undefined);
    if (scores.length) scales[stage] = { low: Math.min(...scores), high: Math.max(...scores) };
  }
  return scales;
}

function shareOf(score, { low, high }) {
  return high > low ? 0.08 + (0.92 * (score - low)) / (high - low) : 1;
}

/** Table of the milliseconds of each stage. */
export function timingTable(timings) {
  const names = [...TIMES, ...Object.keys(timings).filter((name) => !TIMES.includes(name) && name !== "total")];
  const known = names.filter((name) => timings[name] !== undefined);
  const longest = Math.max(...known.map((name) => timings[name]), 0.001);
  const row = (name) =>
    el(
      "tr",
      { data: { time: name } },
      el("th", { scope: "row" }, t(`times.${name}`, {}, name)),
      el("td", { class: "digits" }, millis(timings[name])),
      el("td", { class: "bar-cell" }, name === "total" ? null : bar(timings[name] / longest, "time")),
    );
  const total = timings.total === undefined ? [] : [row("total")];
  return el(
    "figure",
    { class: "timings" },
    el("figcaption", {}, t("timing_caption")),
    el("table", {}, el("tbody", {}, known.map(row)), el("tfoot", {}, total)),
    el("p", { class: "note" }, t("timing_note")),
  );
}

function headings(names) {
  return names.map((name) => el("th", { scope: "col", class: name === "stage" ? null : "digits" }, t(name)));
}
