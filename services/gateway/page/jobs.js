// One build as a card: its upload, how far it is, what was set aside and why, how it ended.
import { follow, Problem, request, upload } from "./api.js";
import { announce, el } from "./dom.js";
import { duration, failure, number, percent, t } from "./i18n.js";

export const ended = (job) => ["done", "failed", "cancelled"].includes(job.state);

/** Share done, 0 to 1, or null while nobody knows. */
const shareOf = (job) => (job.total ? Math.min(1, job.done / job.total) : null);

export class JobCard {
  /** `job` as the API shows it, or {state: "uploading", collection}; hooks: onChange(card), onDone(card), onSearch(name). */
  constructor(job, hooks) {
    this.job = job;
    this.hooks = hooks;
    this.control = new AbortController();
    this.problem = null;
    this.node = el("li", { class: "job" });
    this.render();
    if (job.id && !ended(job)) this.follow();
  }

  /** Send `files` and follow the job that comes of them. */
  async send(files) {
    const form = new FormData();
    form.append("collection", this.job.collection);
    for (const { path, file } of files) form.append("files", file, path);
    try {
      const onProgress = (share) => this.update({ ...this.job, share });
      this.update(await upload("/v1/jobs", form, { onProgress, signal: this.control.signal }));
      this.follow();
    } catch (error) {
      if (error.name === "AbortError") this.update({ ...this.job, state: "cancelled" });
      else if (error instanceof Problem) this.update({ ...this.job, state: "failed", error: error.problem });
      else throw error;
    }
  }

  follow() {
    this.leave?.();
    this.leave = follow(this.job.id, (job) => this.update(job));
  }

  update(job) {
    const was = this.job;
    this.job = job;
    this.render();
    this.hooks.onChange(this);
    if (!ended(was) && ended(job)) {
      const aside = job.failed ? ` ${t("job_failed_files", { n: job.failed })}` : "";
      announce(`${job.collection}: ${t(`job_state.${job.state}`)}. ${this.outcome()}${aside}`);
      this.hooks.onDone(this);
    }
  }

  async act(path, method) {
    try {
      this.update(await request(path, { method }));
      if (!ended(this.job)) this.follow();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error.problem;
      this.render();
    }
  }

  cancel() {
    if (this.job.state === "uploading") this.control.abort();
    else this.act(`/v1/jobs/${this.job.id}`, "DELETE");
  }

  /** Words for the badge in the header. */
  short() {
    if (this.job.state === "uploading") return percent(this.job.share ?? 0);
    const share = shareOf(this.job);
    return share === null ? "…" : percent(share);
  }

  outcome() {
    const { summary, error } = this.job;
    if (summary) {
      return t("job_done", { ...summary, seconds: number(summary.seconds) });
    }
    return error ? failure(error) : "";
  }

  render() {
    const { job } = this;
    this.node.dataset.state = job.state;
    this.node.dataset.job = job.id ?? "";
    const focused = this.node.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    const folded = this.node.querySelector("details")?.open === false;
    this.node.replaceChildren(
      el(
        "header",
        {},
        el("b", { class: "job-name" }, job.collection),
        el("span", { class: "job-state" }, t(`job_state.${job.state}`)),
        el("span", { class: "job-actions" }, this.actions()),
      ),
      ended(job) ? el("p", { class: "job-outcome" }, this.outcome()) : this.progress(),
      this.problem ? el("p", { class: "notice bad" }, failure(this.problem)) : "",
      this.rejects(!folded),
    );
    if (focused) this.node.querySelector(`[data-act="${focused}"]`)?.focus();
  }

  actions() {
    const button = (act, label, kind, click) =>
      el("button", { type: "button", class: `button small ${kind}`, data: { act }, on: { click } }, label);
    const { state, collection, resumable, id } = this.job;
    if (state === "done") return [button("search", t("search_it"), "primary", () => this.hooks.onSearch(collection))];
    if (state === "failed" && resumable && id) {
      return [button("retry", t("retry"), "quiet", () => this.act(`/v1/jobs/${id}/resume`, "POST"))];
    }
    return ended(this.job) ? [] : [button("cancel", t("cancel"), "quiet", () => this.cancel())];
  }

  progress() {
    const { job } = this;
    const uploading = job.state === "uploading";
    const share = uploading ? (job.share ?? 0) : shareOf(job);
    const stage = uploading ? t("uploading", { percent: percent(share) }) : t(`job_stage.${job.stage}`, {}, job.stage);
    const facts = [
      stage,
      job.done ? t("job_count", { done: job.done, total: job.total ?? null }) : null,
      job.rate_per_s ? t("job_rate", { rate: number(job.rate_per_s) }) : null,
      job.eta_s ? t("job_left", { time: duration(job.eta_s) }) : null,
      job.failed ? t("job_failed_files", { n: job.failed }) : null,
    ].filter(Boolean);
    const bar = share === null ? { max: 1 } : { max: 1, value: share.toFixed(4) };
    return el(
      "div",
      { class: "job-progress" },
      el("progress", { ...bar, "aria-label": `${job.collection}: ${stage}` }),
      el("p", { class: "facts" }, facts.map((fact) => el("span", {}, fact))),
    );
  }

  rejects(open) {
    const rejected = this.job.rejected ?? [];
    if (!rejected.length) return "";
    const row = ({ source, reason }) => el("li", {}, el("b", {}, source), el("span", {}, reason));
    return el(
      "details",
      { class: "rejects", open },
      el("summary", {}, t("job_failed_files", { n: Math.max(this.job.failed ?? 0, rejected.length) })),
      el("ul", {}, rejected.slice(0, 50).map(row)),
      rejected.length > 50 ? el("p", { class: "note" }, t("and_more", { n: rejected.length - 50 })) : null,
    );
  }
}
