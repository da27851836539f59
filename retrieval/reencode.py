"""Other models for a collection: built anew from its stored text beside the old one, which answers meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from retrieval.batch import write_generation
from retrieval.changes import Delete, Upsert
from retrieval.collection import Collection
from retrieval.late_encoder import LateEncoder
from retrieval.segment import Part
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.token_vectors import TokenCodes
from retrieval.types import CollectionInfo, Encoder, passage_text
from retrieval.upkeep import Say, quiet, renamed

_AT_ONCE = 256


def reencode(
    store: CollectionStore,
    name: str,
    encoder: Encoder | None,
    *,
    vectors: str | None = None,
    late: LateEncoder | None = None,
    say: Say = quiet,
) -> CollectionInfo:
    """Build a collection anew from its stored text with the vectors of ``encoder``, and lead ``name`` to it.

    Without ``encoder`` it keeps the vectors that it has, to the precision of its index. With ``late`` it gets token
    vectors, or keeps those that are ``late``'s already; without, it has none afterwards.

    The new one is called ``<name>-<n>``; the old one answers until the alias is swapped, in one step, and takes
    changes, which are carried over before. Afterwards the old one is still there under its own name, or, where
    ``name`` was no alias yet, as another ``<name>-<n>``. Raises Conflict while another does this.
    """
    with store.exclusive(f"{name[:50]}-reencode"):
        source = store.open(name)
        spec = None if late is None else late.spec
        settings = replace(source.settings, vectors=vectors or source.settings.vectors, late=spec)
        encoders = _Encoders(encoder, late)
        target = _free_name(store, name)
        snapshot = source.snapshot()
        total = snapshot.info.passages
        write_generation(
            store,
            target,
            (encoders.encoded(part) for part in snapshot.parts()),
            encoder=source.encoder if encoder is None else encoder.spec,
            settings=settings,
            progress=lambda stage, done: say(stage, done, total),
        )
        made = store.open(target)
        while _level(source, made, encoders) > _AT_ONCE:
            say("changes", 0, 0)
        with source.appending():
            _level(source, made, encoders)
            store.set_alias(name, target)
        if source.name == name:  # a plain collection until now: it makes room for the alias of its name
            old = _free_name(store, name)
            (store.root / name).rename(store.root / old)
            renamed(store.root / old, old)
        return store.info(name)


def _free_name(store: CollectionStore, name: str) -> str:
    taken = set(store.names()) | set(store.aliases())
    return next(free for n in range(1, 10_000) if (free := f"{name[:58]}-{n}") not in taken)


@dataclass(frozen=True, slots=True)
class _Encoders:
    dense: Encoder | None
    late: LateEncoder | None

    def encoded(self, part: Part) -> Part:
        texts = [
            passage_text(document.title, chunk.headings, chunk.context, document.text[chunk.start : chunk.end])
            for document, own in zip(part.documents, part.chunks, strict=True)
            for chunk in own
        ]
        vectors = part.vectors if self.dense is None else self.dense.encode(texts, "passage")
        return Part(part.documents, part.chunks, vectors, self._tokens(part.tokens, texts))

    def _tokens(self, there: TokenCodes | None, texts: list[str]) -> TokenCodes | None:
        if self.late is None:
            return None
        if there is not None and there.spec == self.late.spec and there.counts.all():
            return there
        return self.late.encode(texts)


def _level(source: Collection, made: Collection, encoders: _Encoders) -> int:
    """Carry over what changed in ``source`` since; returns how many documents that was."""
    snapshot, ours = source.snapshot(), made.snapshot()
    changed = list(_differing(snapshot, ours))
    gone = list(_missing(ours, snapshot))
    for start in range(0, len(changed), _AT_ONCE):
        ids = changed[start : start + _AT_ONCE]
        places = [place for place in snapshot.find(ids) if place is not None]
        parts = [snapshot.views[view].part([row]) for view, row in places]
        encoded = [encoders.encoded(part) for part in parts]
        made.write([Upsert(each.documents[0], each.chunks[0], each.vectors, tokens=each.tokens) for each in encoded])
    for start in range(0, len(gone), _AT_ONCE):
        made.write([Delete(one) for one in gone[start : start + _AT_ONCE]])
    return len(changed) + len(gone)


def _differing(theirs: Snapshot, ours: Snapshot) -> Iterator[str]:
    """Ids of documents that ``ours`` lacks, or holds in another version."""
    for listed in theirs.listed():
        places = ours.find([document_id for document_id, _ in listed])
        for (document_id, version), place in zip(listed, places, strict=True):
            if place is None or ours.views[place[0]].version(place[1]) != version:
                yield document_id


def _missing(ours: Snapshot, theirs: Snapshot) -> Iterator[str]:
    """Ids of documents of ``ours`` that are not in ``theirs``."""
    for listed in ours.listed():
        ids = [document_id for document_id, _ in listed]
        yield from (one for one, place in zip(ids, theirs.find(ids), strict=True) if place is None)
