// The panel where documents are added: files gathered, a collection named, builds followed.
import { Problem, request } from "./api.js";
import { byId, el } from "./dom.js";
import { chosen, dropped, suggestedName } from "./files.js";
import { size, t } from "./i18n.js";
import { ended, JobCard } from "./jobs.js";

const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const NAMES_SHOWN = 6;

export class Panel {
  /** Hooks: onBuilt() after a build ended well, onSearch(name) when its collection is to be searched, names(). */
  constructor(dialog, hooks) {
    this.dialog = dialog;
    this.hooks = hooks;
    this.files = [];
    this.name = null;
    this.error = "";
    this.cards = [];
    this.limits = { max_files: Infinity, max_bytes: Infinity };
    this.listen();
    this.render();
  }

  /** Take up the jobs that the server knows, the running ones live. */
  async load() {
    try {
      const { jobs, limits } = await request("/v1/jobs");
      this.limits = limits;
      this.cards = [...this.cards, ...jobs.slice(0, 5).map((job) => this.card(job))];
      this.renderBuilds();
      this.badge();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      byId("add").hidden = [401, 403, 404].includes(error.problem.status); // none here, or not for this key
    }
  }

  listen() {
    let depth = 0;
    const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const over = (on) => {
      byId("drop").hidden = !on;
    };
    addEventListener("dragenter", (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      depth += 1;
      over(true);
    });
    addEventListener("dragover", (event) => holds(event) && event.preventDefault());
    addEventListener("dragleave", (event) => {
      if (!holds(event)) return;
      depth = Math.max(0, depth - 1);
      if (!depth) over(false);
    });
    addEventListener("drop", async (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      depth = 0;
      over(false);
      this.stage(await dropped(event.dataTransfer));
    });
    this.dialog.addEventListener("close", () => byId("add").focus());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  open() {
    if (this.dialog.open) return;
    // Chromium gives the focus back to a text field so that what is typed next is lost: hand back none, and set it
    document.activeElement?.blur();
    this.dialog.showModal();
  }

  /** Put files beside those gathered already; one of the same path is replaced. */
  stage(files) {
    const byPath = new Map([...this.files, ...files].map((each) => [each.path, each]));
    this.files = [...byPath.values()];
    this.error = this.tooMuch();
    this.render();
    this.open();
    byId("build")?.focus();
  }

  tooMuch() {
    const { max_files: maxFiles, max_bytes: maxBytes } = this.limits;
    const bytes = this.bytes();
    if (this.files.length > maxFiles) return t("too_many", { n: this.files.length, max: maxFiles });
    if (bytes > maxBytes) return t("too_big", { size: size(bytes), max: size(maxBytes) });
    return "";
  }

  bytes() {
    return this.files.reduce((sum, { file }) => sum + file.size, 0);
  }

  render() {
    this.builds = el("section", { class: "builds" });
    this.renderBuilds();
    this.dialog.replaceChildren(
      el(
        "header",
        {},
        el("h2", { id: "panel-title" }, t("panel_title")),
        el(
          "button",
          { type: "button", class: "button quiet icon", "aria-label": t("close"), on: { click: () => this.dialog.close() } },
          "✕",
        ),
      ),
      this.zone(),
      this.files.length ? this.form() : "",
      this.builds,
    );
  }

  renderBuilds() {
    this.builds.hidden = !this.cards.length;
    this.builds.replaceChildren(el("h3", {}, t("builds")), el("ul", { class: "jobs" }, this.cards.map((card) => card.node)));
  }

  zone() {
    const input = (id, extra) =>
      el("input", {
        type: "file",
        id,
        class: "visually-hidden",
        multiple: true,
        tabindex: "-1",
        "aria-hidden": "true",
        ...extra,
        on: {
          change: (event) => {
            const files = chosen(event.target);
            event.target.value = "";
            if (files.length) this.stage(files);
          },
        },
      });
    const files = input("files", {});
    const folder = input("folder", { webkitdirectory: true });
    const button = (label, target) =>
      el("button", { type: "button", class: "button quiet", on: { click: () => target.click() } }, label);
    return el(
      "div",
      { class: "zone" },
      el("p", { class: "zone-title" }, t("drop_zone")),
      el("p", { class: "zone-buttons" }, button(t("choose_files"), files), button(t("choose_folder"), folder)),
      el("p", { class: "note" }, t("formats")),
      files,
      folder,
    );
  }

  form() {
    const names = this.files.slice(0, NAMES_SHOWN).map(({ path }) => el("li", {}, path));
    const rest = this.files.length - names.length;
    const name = el("input", {
      id: "target",
      class: "input",
      type: "text",
      list: "known",
      maxlength: "64",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      value: this.name ?? suggestedName(this.files, "uploads"),
      "aria-describedby": "target-hint",
      on: {
        input: (event) => {
          this.name = event.target.value;
          event.target.setCustomValidity("");
        },
      },
    });
    return el(
      "form",
      { class: "staged", on: { submit: (event) => this.submit(event, name) } },
      el(
        "p",
        { class: "staged-count" },
        el("b", {}, t("staged", { n: this.files.length, size: size(this.bytes()) })),
        el("button", { type: "button", class: "link", on: { click: () => this.clear() } }, t("clear")),
      ),
      el("ul", { class: "names" }, names, rest ? el("li", { class: "note" }, t("and_more", { n: rest })) : null),
      el("label", { for: "target" }, t("into")),
      el(
        "div",
        { class: "target-row" },
        name,
        el("button", { type: "submit", id: "build", class: "button primary", disabled: Boolean(this.error) }, t("build")),
      ),
      el("datalist", { id: "known" }, this.hooks.names().map((known) => el("option", { value: known }))),
      el("p", { id: "target-hint", class: this.error ? "notice bad" : "note" }, this.error || t("into_hint")),
    );
  }

  clear() {
    this.files = [];
    this.name = null;
    this.error = "";
    this.render();
  }

  submit(event, input) {
    event.preventDefault();
    const collection = input.value.trim();
    if (!NAME.test(collection)) {
      input.setCustomValidity(t("bad_name"));
      input.reportValidity();
      return;
    }
    const files = this.files;
    const card = this.card({ state: "uploading", collection, share: 0 });
    this.cards.unshift(card);
    this.clear();
    this.dialog.focus();
    card.send(files);
  }

  card(job) {
    return new JobCard(job, {
      onChange: () => this.badge(),
      onDone: (card) => card.job.state === "done" && this.hooks.onBuilt(),
      onSearch: (name) => {
        this.dialog.close();
        this.hooks.onSearch(name);
      },
    });
  }

  /** How far the oldest unfinished build is, in the header, for when the panel is closed. */
  badge() {
    const running = this.cards.filter((card) => !ended(card.job));
    const badge = byId("add-progress");
    badge.hidden = !running.length;
    badge.textContent = running.length ? running.at(-1).short() : "";
    byId("add").title = running.length ? t("building", { percent: badge.textContent }) : t("add");
  }

  translate() {
    for (const card of this.cards) card.render();
    this.render();
    this.badge();
  }
}
