// Shows a cited sentence beside its number while the passage itself is out of sight.
import { el } from "./dom.js";

export class Peek {
  constructor() {
    this.quote = el("blockquote", {});
    this.from = el("cite", {});
    this.node = el("div", { class: "peek", hidden: true, "aria-hidden": "true" }, this.quote, this.from);
    document.body.append(this.node);
    addEventListener("scroll", () => this.hide(), { passive: true });
  }

  /** `anchor` is what the pointer or the focus is on; nothing is shown while `passage` can be seen. */
  show(anchor, passage, sentence, from) {
    if (inSight(passage)) return this.hide();
    this.quote.textContent = sentence;
    this.from.textContent = from;
    this.node.hidden = false;
    const { width, height } = this.node.getBoundingClientRect();
    const at = anchor.getBoundingClientRect();
    const below = at.bottom + 8;
    const top = below + height > innerHeight ? Math.max(8, at.top - height - 8) : below;
    const left = Math.min(Math.max(12, at.left - 24), Math.max(12, innerWidth - width - 12));
    this.node.style.setProperty("top", `${top}px`);
    this.node.style.setProperty("left", `${left}px`);
    return undefined;
  }

  hide() {
    this.node.hidden = true;
  }
}

function inSight(node) {
  const { top, bottom } = node.getBoundingClientRect();
  return bottom > 0 && top >= 0 && top < innerHeight - 24;
}
