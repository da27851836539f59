"""Hard negatives: what our own recall finds for a question, with what is relevant to it marked."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranking.train.lists import Lists, RankedList
from ranking.train.sources import LONGEST, Asked, Source
from retrieval.errors import DocumentNotFound, InvalidRequest
from retrieval.fusion import rrf
from retrieval.library import Collection
from retrieval.snapshot import Snapshot
from retrieval.types import Document, Encoder, Hits, Passage

_AT_ONCE = 256
_ALIKE = 0.8
"""Share of pairs of neighbouring characters in common above which a passage is taken for a copy of a relevant one."""

_LOOKED_AT = 400
"""Characters of each that are compared."""

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Depths:
    """How much of a ranking is kept. Of ``dev`` the first ``dev`` documents as they came; of ``train`` the relevant
    ones, the ``hard`` first others, ``middle`` from further down and ``easy`` from anywhere."""

    recall: int = 60
    dev: int = 40
    hard: int = 9
    middle: int = 4
    easy: int = 2


@dataclass(frozen=True, slots=True)
class Found:
    """A document in a ranking, by its best passage, with the cosine of an encoder where dense recall saw it."""

    document_id: str
    passage: Passage
    similarity: float


def open_collection(path: Path, documents: Sequence[Document], told: Told) -> Collection:
    """A collection of these documents at ``path``, to be searched by words, gone on with where it is not whole yet."""
    collection = Collection(path) if path.is_dir() else Collection.create(path)
    missing = [each for each in documents if each.document_id not in collection]
    for at in range(0, len(missing), _AT_ONCE):
        told(f"{path.name}: {at}/{len(missing)} documents written")
        collection.upsert(missing[at : at + _AT_ONCE])
    return collection


def named_collection(collections: Path, beginning: str, encoder: Encoder) -> Collection:
    """The newest collection whose name begins so. Raises InvalidRequest when there is none."""
    found = sorted(collections.glob(f"{beginning}*"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InvalidRequest(f"{collections} has no collection {beginning}*: run `riddle eval run` on that set first")
    return Collection(found[-1], encoder)


def mined(
    source: Source,
    asked: Sequence[Asked],
    snapshot: Snapshot,
    encoder: Encoder | None,
    depths: Depths,
    seed: int,
    told: Told,
) -> Lists:
    """A list for each question: recall's own order for ``dev``, relevant and hard ones for ``train``.

    Recall is by words and by meaning, or by words alone where there is no encoder.
    """
    texts: dict[str, str] = {}
    lists: list[RankedList] = []
    for number, (question, ranking) in enumerate(_rankings(snapshot, encoder, asked, depths.recall)):
        if number % 1000 == 0:
            told(f"{source.name}: {number}/{len(asked)} questions searched")
        if question.part == "dev":
            kept = ranking[: depths.dev]
        else:
            kept = _for_training(question, ranking, snapshot, depths, seed)
        grades = tuple(int(each.document_id in question.relevant) for each in kept)
        if question.part == "train" and not 0 < sum(grades) < len(grades):
            continue
        names = tuple(f"{source.name}:{each.passage.passage_id}" for each in kept)
        texts |= {name: _text(each.passage, source.language) for name, each in zip(names, kept, strict=True)}
        similarities = tuple(round(each.similarity, 4) for each in kept) if encoder else ()
        lists.append(
            RankedList(
                question.question_id,
                source.name,
                question.part,
                source.language,
                question.query,
                names,
                grades,
                len(question.relevant),
                similarities=similarities,
            )
        )
    return Lists(texts, lists)


def alike(one: str, other: str) -> bool:
    """Whether two passages say the same in nearly the same words: a copy of a relevant passage is no negative."""
    return _alike(_pairs(one), _pairs(other))


def _alike(left: set[str], right: set[str]) -> bool:
    # Sets of very different size cannot have that much in common, and most are.
    if min(len(left), len(right)) < _ALIKE * max(len(left), len(right)):
        return False
    return len(left & right) > _ALIKE * len(left | right)


def _pairs(text: str) -> set[str]:
    letters = "".join(text[:_LOOKED_AT].lower().split())
    return {one + other for one, other in itertools.pairwise(letters)} or {letters}


def _rankings(
    snapshot: Snapshot, encoder: Encoder | None, asked: Sequence[Asked], depth: int
) -> Iterator[tuple[Asked, list[Found]]]:
    """Documents by reciprocal rank fusion of the channels, each once."""
    for at in range(0, len(asked), _AT_ONCE):
        some = asked[at : at + _AT_ONCE]
        vectors = encoder.encode([each.query for each in some], "query") if encoder else [None] * len(some)
        for question, vector in zip(some, vectors, strict=True):
            channels = {"lexical": snapshot.lexical(question.query, depth)}
            dense = Hits.empty() if vector is None else snapshot.dense(vector, depth)
            fused = rrf(channels if vector is None else channels | {"dense": dense})
            yield question, _documents(snapshot, fused, dense, depth)


def _documents(snapshot: Snapshot, fused: Hits, dense: Hits, depth: int) -> list[Found]:
    cosines = dict(zip(dense.rows.tolist(), dense.scores.tolist(), strict=True))
    rows = fused.rows[: 2 * depth]
    found: dict[str, Found] = {}
    for row, passage in zip(rows.tolist(), snapshot.passages(rows), strict=True):
        found.setdefault(passage.document_id, Found(passage.document_id, passage, cosines.get(row, 0.0)))
    return list(found.values())


def _for_training(
    question: Asked, ranking: Sequence[Found], snapshot: Snapshot, depths: Depths, seed: int
) -> list[Found]:
    rng = random.Random(f"{seed} {question.question_id}")
    relevant = [each for each in ranking if each.document_id in question.relevant][:3]
    if not relevant:
        relevant = [_unfound(snapshot, each) for each in sorted(question.relevant)[:1]]
    others = [each for each in ranking if each.document_id not in question.relevant]
    copies = [_pairs(good.passage.text) for good in relevant]
    negatives = (each for each in others if not any(_alike(_pairs(each.passage.text), copy) for copy in copies))
    hard = list(itertools.islice(negatives, depths.hard))
    # What is further down is looked at for copies only where it is taken.
    rest = others[others.index(hard[-1]) + 1 :] if hard else []
    picked = rng.sample(rest, min(depths.middle, len(rest)))
    middle = [each for each in picked if not any(_alike(_pairs(each.passage.text), copy) for copy in copies)]
    rows = [rng.randrange(snapshot.info.passages) for _ in range(depths.easy)]
    easy = [Found(each.document_id, each, 0.0) for each in snapshot.passages(rows)]
    chosen = [*relevant, *hard, *middle]
    seen = {each.document_id for each in chosen} | question.relevant
    return [*chosen, *(each for each in easy if each.document_id not in seen)]


def _unfound(snapshot: Snapshot, document_id: str) -> Found:
    """A relevant document that recall did not find, by its beginning."""
    try:
        document = snapshot.document(document_id)
    except DocumentNotFound:
        raise InvalidRequest(f"{snapshot.info.name} lacks the relevant document {document_id}") from None
    text = document.text[:1200]
    return Found(document_id, Passage(f"{document_id}#0", document_id, text, (0, len(text)), document.title), 0.0)


def _text(passage: Passage, language: str) -> str:
    return passage.full_text[: LONGEST[language]]
