// Makes and finds elements. Text only ever enters the page as text nodes, so nothing a document holds is run.

/**
 * An element with attributes and children. `on` holds listeners, `data` data attributes, `vars` CSS
 * variables; a value of null or false leaves the attribute out, children of null or false are skipped.
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    } else if (name === "data") {
      Object.assign(node.dataset, value);
    } else if (name === "vars") {
      for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The element with this id, which the page is known to have. */
export function byId(id) {
  return document.getElementById(id);
}

/** Tell screen readers, once, without moving the focus. */
export function announce(text) {
  byId("status").textContent = text;
}

/** A remembered choice, or null; storage may be blocked. */
export function remembered(key) {
  try {
    return localStorage.getItem(`riddle.${key}`);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`riddle.${key}`, value);
  } catch {
    // storage is blocked or full: the choice lasts as long as the page
  }
}

/** Scroll into view, without motion for those who asked for none. */
export function reveal(node, block = "nearest") {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.scrollIntoView({ block, behavior: calm ? "auto" : "smooth" });
}
