"""Drafts questions from a collection: which passages are taken, who writes, and which drafts are kept."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from eval.drafts import Draft, Drafted, letters, problems
from indexing.duplicates import Signatures, signatures
from retrieval.analysis import language_of
from retrieval.errors import GenerationFailed, Overloaded
from retrieval.snapshot import Snapshot
from retrieval.types import Language, Passage

DEPTH = 20
"""How far down today's search is looked at for a draft's document."""
NEAR = 0.8
"""Estimated similarity from which two passages say nearly the same; the later one is left out."""
POOL = 8
"""Documents that are drawn for each draft that is wanted, for not every passage gives one."""
ROUNDS = 8
"""Passages of one document that are looked at, at most; one a round, so that documents take turns."""

_SHORTEST = {"en": 120, "zh": 40}
"""Characters of a passage that is worth a question."""

Find = Callable[[str], Awaitable[Sequence[str]]]
"""The documents that today's search finds for a question, best first, each once."""


class Writer(Protocol):
    """Makes one draft of a passage, or None."""

    @property
    def name(self) -> str: ...

    async def write(self, passage: Passage, language: Language) -> Drafted | None: ...


@dataclass(slots=True)
class Account:
    """What came of the passages that were looked at."""

    passages: int = 0
    drafts: int = 0
    first: int = 0
    """Drafts whose document is at rank 1 already: perhaps too easy to tell two searches apart."""
    not_found: int = 0
    """Drafts whose document is not among the first ``DEPTH``: hard, or not answerable by it alone."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Why drafts and passages were not taken."""


@dataclass(frozen=True, slots=True)
class Writers:
    """Who drafts: ``first`` in order over all passages, then ``last`` over those that are left, if too few came."""

    first: Sequence[Writer]
    last: Sequence[Writer] = ()


async def draft_set(
    passages: Callable[[], Iterator[Passage]], wanted: int, writers: Writers, find: Find, account: Account
) -> AsyncIterator[Draft]:
    """Up to ``wanted`` drafts, each from another passage, by the first writer whose draft has no problem.

    ``passages`` begins anew with each call. A model that fails on one passage is counted and the next writer asked;
    Unavailable is raised.
    """
    taken: Signatures = np.empty((0, 0), np.uint32)
    asked: set[str] = set()
    used: set[str] = set()
    for chosen in (writers.first, writers.last):
        for passage in passages() if chosen else ():
            if account.drafts == wanted:
                return
            if passage.passage_id in used:
                continue
            account.passages += 1
            signature = signatures([passage.text])
            if taken.size and float((taken == signature).mean(axis=0).max()) >= NEAR:
                account.dropped["near-duplicate"] += 1
                continue
            made = await _written(passage, chosen, account)
            if made is None:
                continue
            if letters(made[0].question) in asked:
                account.dropped["asked before"] += 1
                continue
            asked.add(letters(made[0].question))
            used.add(passage.passage_id)
            taken = np.concatenate([taken, signature], axis=1) if taken.size else signature
            yield await _placed(passage, *made, find, account)


async def _placed(passage: Passage, drafted: Drafted, by: str, find: Find, account: Account) -> Draft:
    """The draft with the place that today's search has for its document."""
    found = list(await find(drafted.question))[:DEPTH]
    rank = found.index(passage.document_id) + 1 if passage.document_id in found else None
    account.drafts += 1
    account.first += rank == 1
    account.not_found += rank is None
    return Draft(
        id="d" + hashlib.sha256(f"{passage.passage_id}\n{drafted.question}".encode()).hexdigest()[:10],
        question=drafted.question,
        answers=(drafted.answer,),
        document_id=passage.document_id,
        passage_id=passage.passage_id,
        evidence=drafted.evidence,
        title=passage.title,
        language=language_of(drafted.question),
        by=by,
        rank=rank,
    )


def sampled(snapshot: Snapshot, seed: int, wanted: int) -> Iterator[Passage]:
    """Passages of a collection in the order in which drafts are tried.

    Documents are drawn by a hash of seed and id, so that adding others changes little; then they take turns, one
    passage a round, so that a long document has no more of the set than a short one. Documents that not everybody may
    see are left out: whoever reads the set sees its evidence.
    """
    ids = (document_id for part in snapshot.listed() for document_id, _ in part)
    drawn = heapq.nsmallest(max(POOL * wanted, 100), ids, key=lambda document_id: _draw(seed, document_id))
    later: list[list[Passage]] = []
    for document_id in drawn:
        passages = sorted(_passages(snapshot, document_id), key=lambda each: _draw(seed, each.passage_id))
        if passages:
            yield passages[0]
            later.append(passages[1:ROUNDS])
    for turn in range(ROUNDS - 1):
        yield from (passages[turn] for passages in later if turn < len(passages))


async def _written(passage: Passage, writers: Sequence[Writer], account: Account) -> tuple[Drafted, str] | None:
    language = language_of(passage.text)
    for writer in writers:
        try:
            drafted = await writer.write(passage, language)
        except (GenerationFailed, Overloaded):
            account.dropped[f"{writer.name} failed"] += 1
            continue
        if drafted is None:
            account.dropped[f"{writer.name} made nothing of it"] += 1
            continue
        wrong = problems(drafted, passage)
        if not wrong:
            return drafted, writer.name
        account.dropped.update(wrong)
    return None


def _passages(snapshot: Snapshot, document_id: str) -> Iterator[Passage]:
    """The passages of one public document that are long enough to ask about."""
    [place] = snapshot.find([document_id])
    if place is None:  # deleted, which a snapshot cannot tell beforehand
        return
    part = snapshot.views[place[0]].part([place[1]])
    for document, chunks in zip(part.documents, part.chunks, strict=True):
        for piece in chunks if not document.acl else ():
            text = document.text[piece.start : piece.end]
            if len(text) >= _SHORTEST[language_of(text)]:
                yield Passage(
                    f"{document_id}#{piece.ordinal}",
                    document_id,
                    text,
                    (piece.start, piece.end),
                    document.title,
                    piece.headings,
                    piece.page,
                    piece.context,
                    document.source,
                )


def _draw(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
