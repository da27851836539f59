"""What a reranker is trained and judged on: questions, each with a list of passages, kept in one file."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import InvalidRequest

Part = Literal["train", "dev"]
"""``dev`` is what a run is judged and chosen by; it shares no article and no question with ``train``."""

PASSAGE = "passage"
"""The key that tells a line of the file that holds a passage from one that holds a list."""

DEV_SHARE = 0.2


def part_of(source: str, key: str) -> Part:
    """Where an article or a question goes, by a hash of its name alone: a fifth is ``dev``.

    The first four bytes of the sha256 of ``SOURCE/KEY`` as a number over 2**32; below ``DEV_SHARE`` is ``dev``.
    """
    return "dev" if fraction(f"{source}/{key}") < DEV_SHARE else "train"


def fraction(text: str) -> float:
    """A number in [0, 1) that hangs on ``text`` alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


@dataclass(frozen=True, slots=True)
class RankedList:
    """A question and the passages that recall found for it.

    ``passages`` are ids, ``grades`` their judgements, ``judged`` how many relevant passages there are in all, found or
    not. Where the teacher cannot read the language, ``teacher_query`` and ``teacher_passages`` are translations that
    it can. ``scores`` are the teacher's logits, empty where it has not scored; ``late`` those of late interaction, mean
    cosines of 0 to 1, empty where it has not; ``similarities`` the cosines of an encoder, empty where there was none.
    """

    list_id: str
    source: str
    part: Part
    language: str
    query: str
    passages: tuple[str, ...]
    grades: tuple[int, ...]
    judged: int
    teacher_query: str = ""
    teacher_passages: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    similarities: tuple[float, ...] = ()
    late: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        each = (self.grades, self.scores or self.passages, self.similarities or self.passages,
                self.teacher_passages or self.passages, self.late or self.passages)  # fmt: skip
        if any(len(values) != len(self.passages) for values in each):
            raise ValueError(f"the list {self.list_id} has {len(self.passages)} passages, and not as many values")

    @property
    def for_teacher(self) -> bool:
        """Whether the English teacher can score it."""
        return self.language == "en" or bool(self.teacher_query)


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists, and the texts of their passages by id."""

    texts: Mapping[str, str]
    lists: Sequence[RankedList]

    def of(self, part: Part, languages: Iterable[str] = ("en", "zh", "*")) -> list[RankedList]:
        """Those of one part, in languages that a model reads; ``*`` stands for both in one list."""
        wanted = set(languages)
        return [each for each in self.lists if each.part == part and each.language in wanted]


def write_lists(path: Path, lists: Lists) -> None:
    """One JSON object a line, gzipped: passages first, in the order of their ids; the same bytes for the same lists.

    Only passages that a list names are written. The file appears whole or not at all.
    """
    named = {passage for each in lists.lists for passage in (*each.passages, *each.teacher_passages)}
    aside = path.with_name(f"{path.name}.new")
    with aside.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for name in sorted(named):
            packed.write(_line({PASSAGE: name, "text": lists.texts[name]}))
        for each in lists.lists:
            packed.write(_line({key: value for key, value in asdict(each).items() if value not in ("", ())}))
    aside.replace(path)


def read_lists(path: Path) -> Lists:
    """What ``write_lists`` wrote, or the same packed by xz. Raises InvalidRequest for another file."""
    texts: dict[str, str] = {}
    lists: list[RankedList] = []
    try:
        for said in _lines(path):
            if PASSAGE in said:
                texts[said[PASSAGE]] = said["text"]
            else:
                lists.append(RankedList(**{key: _frozen(value) for key, value in said.items()}))
    except (OSError, EOFError, lzma.LZMAError, ValueError, TypeError, KeyError) as error:
        raise InvalidRequest(f"{path} holds no lists: {error}") from None
    return Lists(texts, lists)


def merged(parts: Iterable[Lists]) -> Lists:
    """All lists of several files, in order."""
    texts: dict[str, str] = {}
    lists: list[RankedList] = []
    for each in parts:
        texts |= each.texts
        lists += each.lists
    return Lists(texts, lists)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _line(said: Mapping[str, object]) -> bytes:
    return (json.dumps(said, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    opened = lzma.open if path.suffix == ".xz" else gzip.open
    with opened(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
