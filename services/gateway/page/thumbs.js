// Two buttons that say good or bad; pressing the one that is pressed takes it back.
import { el } from "./dom.js";
import { t } from "./i18n.js";

/** `label` names what is rated, `value` is 1, -1 or 0 for not rated, `onRate` gets the new value. */
export function thumbs(label, value, onRate) {
  const button = (own, name) =>
    el("button", {
      type: "button",
      class: `thumb ${name}`,
      title: t(name),
      "aria-label": t(name),
      "aria-pressed": `${value === own}`,
      on: {
        click: ({ currentTarget }) => {
          const next = currentTarget.getAttribute("aria-pressed") === "true" ? 0 : own;
          for (const each of currentTarget.parentNode.children) each.setAttribute("aria-pressed", "false");
          currentTarget.setAttribute("aria-pressed", `${next === own}`);
          onRate(next);
        },
      },
    });
  return el("span", { class: "thumbs", role: "group", "aria-label": label }, button(1, "helpful"), button(-1, "not_helpful"));
}
