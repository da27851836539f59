// What the server's log calls this visit: a random word that lives as long as the tab and says nothing of who it is.
const NAME = "riddle.session";

function made() {
  // not crypto.randomUUID: it is there for https and this machine only
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function kept() {
  try {
    const found = sessionStorage.getItem(NAME) ?? made();
    sessionStorage.setItem(NAME, found);
    return found;
  } catch {
    return made(); // storage is blocked: the word lasts as long as the page
  }
}

export const session = kept();
