// Files as they are dropped or chosen, folders walked, each with its path below the folder.

const HIDDEN = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$|desktop\.ini$)/;

/** [{path, file}] of what was dropped. Must be called in the drop event itself: its items do not outlive it. */
export async function dropped(transfer) {
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = await Promise.all(entries.filter(Boolean).map(walk));
  return found.flat().filter(({ path }) => !HIDDEN.test(path));
}

/** [{path, file}] of a file input, for folders with the path below the folder. */
export function chosen(input) {
  return [...input.files]
    .map((file) => ({ path: file.webkitRelativePath || file.name, file }))
    .filter(({ path }) => !HIDDEN.test(path));
}

async function walk(entry) {
  if (entry instanceof File) return [{ path: entry.name, file: entry }];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = entry.createReader();
  const children = [];
  for (;;) {
    // a folder is read in batches; an empty one is the end
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) break;
    children.push(...batch);
  }
  return (await Promise.all(children.map(walk))).flat();
}

/** A collection name for these files: that of their one folder, else `fallback`. */
export function suggestedName(files, fallback) {
  const folders = new Set(files.map(({ path }) => (path.includes("/") ? path.split("/")[0] : "")));
  const [folder] = folders;
  const name = folders.size === 1 ? slug(folder) : "";
  return name || fallback;
}

function slug(name) {
  return name.toLowerCase().replace(/[^a-z0-9_-]+/g, "-").replace(/^[-_]+|-+$/g, "").slice(0, 64);
}
