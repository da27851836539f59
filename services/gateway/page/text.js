// Where things stand in a text: code points against UTF-16, words of a query, stretches to mark.

/** The UTF-16 index at which the first `count` code points of `text` end; past the end, its length. */
export function utf16Index(text, count) {
  let index = 0;
  for (let seen = 0; seen < count && index < text.length; seen += 1) {
    index += text.codePointAt(index) > 0xffff ? 2 : 1;
  }
  return index;
}

/** UTF-16 range of a span counted in code points; `base` is the code point at which `text` begins. */
export function range(text, span, base = 0) {
  const start = utf16Index(text, Math.max(0, span[0] - base));
  const end = utf16Index(text, Math.max(0, span[1] - base));
  return [start, end];
}

const STOP = new Set(
  ("a an and are as at be but by can do does did for from had has have how i if in into is it its me my of on or own " +
    "our should so than that the their them then there these they this to was we were what when where which who " +
    "why will with would you your").split(" "),
);
const STOP_HAN = new Set(
  "的 了 是 在 和 与 或 吗 呢 吧 么 什么 怎么 怎样 如何 为什么 哪 哪些 哪个 哪里 谁 我 你 他 她 它 我们 你们 有 没有 可以 能 能否 请 这 那 这个 那个 一个 一 个 上 下 里 中 对 把 被 让 给 用 会 要 到 从 时 都 也 就 不 之 其 及 等".split(
    " ",
  ),
);
const WORD = /[\p{L}\p{M}\p{N}]+/gu;
const CAMEL = /\p{Lu}+(?=\p{Lu}\p{Ll})|\p{Lu}?\p{Ll}+|\p{Lu}+|\p{N}+/gu;
const HAN = /\p{Script=Han}+/gu;

/** Near enough to what the index does that a mark stands where a word matched: endings off, case folded. */
function stem(word) {
  let base = word.toLowerCase();
  base = base.replace(/ies$/, "y");
  for (const ending of [/ing$/, /ions?$/, /edly$/, /ed$/, /es$/, /ly$/, /s$/, /e$/]) {
    const cut = base.replace(ending, "");
    if (cut !== base && cut.length >= 3) {
      base = cut.replace(/([^aeioul])\1$/, "$1");
      break;
    }
  }
  return base;
}

function hanWords(run) {
  if (typeof Intl.Segmenter === "function") {
    const words = [...new Intl.Segmenter("zh", { granularity: "word" }).segment(run)].map((each) => each.segment);
    const telling = [];
    for (const [index, word] of words.entries()) {
      if (STOP_HAN.has(word)) continue;
      // 数据 + 库: a single sign says too little alone, and belongs to the word before it
      const joins = word.length === 1 && index > 0 && telling.at(-1)?.endsWith(words[index - 1]);
      if (joins) telling.push(telling.at(-1) + word);
      else telling.push(word);
    }
    return telling.some((word) => word.length > 1) ? telling.filter((word) => word.length > 1) : telling;
  }
  const pairs = [];
  for (let index = 0; index + 1 < run.length; index += 1) pairs.push(run.slice(index, index + 2));
  return pairs.length ? pairs : [run];
}

/** A word, and its parts when it is written like maxLength; the index knows both. */
function withParts(match) {
  const word = match[0];
  const found = [{ word, start: match.index, end: match.index + word.length }];
  if (/\p{Ll}\p{Lu}|\p{Lu}{2}\p{Ll}/u.test(word)) {
    for (const part of word.matchAll(CAMEL)) {
      const start = match.index + part.index;
      found.push({ word: part[0], start, end: start + part[0].length });
    }
  }
  return found;
}

/** What to mark for a query: stems of its telling words, and its Han words as they stand. */
export function terms(query) {
  const plain = [...query.replace(HAN, " ").matchAll(WORD)].flatMap(withParts).map((each) => each.word);
  const telling = plain.filter((word) => !STOP.has(word.toLowerCase()));
  const han = (query.match(HAN) ?? []).flatMap(hanWords);
  return { stems: new Set((telling.length || han.length ? telling : plain).map(stem)), han: [...new Set(han)] };
}

/** UTF-16 ranges of `text` that match, in order, without overlaps. */
export function matches(text, { stems, han }) {
  const found = [];
  if (stems.size) {
    for (const { word, start, end } of [...text.matchAll(WORD)].flatMap(withParts)) {
      if (stems.has(stem(word))) found.push([start, end]);
    }
  }
  for (const word of han) {
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
      found.push([at, at + word.length]);
    }
  }
  return merged(text, found);
}

/** In order and without overlaps; the parts of one name, as select_related, become one. */
function merged(text, ranges) {
  const joined = [];
  for (const [start, end] of ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    const last = joined.at(-1);
    if (last && (start <= last[1] || (start === last[1] + 1 && /[_.-]/.test(text[last[1]])))) last[1] = Math.max(last[1], end);
    else joined.push([start, end]);
  }
  return joined;
}

/**
 * Cut `text` where a mark or a cited sentence begins or ends.
 * `cited` is a list of {id, range}; each piece says whether it is marked and which ids cover it.
 */
export function pieces(text, marks, cited) {
  const edges = new Set([0, text.length]);
  for (const [start, end] of [...marks, ...cited.map((each) => each.range)]) {
    edges.add(Math.min(start, text.length));
    edges.add(Math.min(end, text.length));
  }
  const sorted = [...edges].sort((a, b) => a - b);
  const covers = ([start, end], from, to) => start <= from && to <= end;
  return sorted.slice(1).map((to, index) => {
    const from = sorted[index];
    return {
      text: text.slice(from, to),
      marked: marks.some((mark) => covers(mark, from, to)),
      ids: cited.filter((each) => covers(each.range, from, to)).map((each) => each.id),
    };
  });
}
