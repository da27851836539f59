"""What one search reads: segments, live blocks and what is deleted in each, as they were at one change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval._native.late import LateQuery
from retrieval.analysis import Analysis
from retrieval.document_hashes import hashes_of
from retrieval.errors import DocumentNotFound, InvalidRequest
from retrieval.filters import EVERYTHING, Scope
from retrieval.lexical_query import LexicalQuery, parse_query, widened
from retrieval.lexical_scoring import BODY, Statistics
from retrieval.manifest import Manifest, check_encoder
from retrieval.metadata_facets import merged_facets
from retrieval.metadata_values import Scalar
from retrieval.segment import Part
from retrieval.token_codec import LateSpec
from retrieval.types import CollectionInfo, Document, EncoderSpec, Hits, Passage, Rows
from retrieval.views import BlockView, SegmentView, View

T = TypeVar("T")

FACET_VALUES = 20
_EXPORTED_AT_ONCE = 512


class Snapshot:
    """One state of a collection. Thread-safe; what it finds does not change while changes go on.

    ``Hits.rows`` count passages over all views in order; they mean something in this snapshot only.
    """

    def __init__(
        self,
        manifest: Manifest,
        analysis: Analysis,
        segments: Sequence[SegmentView],
        blocks: Sequence[BlockView],
        seq: int,
    ) -> None:
        self.manifest, self.analysis, self.seq = manifest, analysis, seq
        self.segments, self.blocks = tuple(segments), tuple(blocks)
        self.views: tuple[View, ...] = (*self.segments, *(block for block in self.blocks if block.documents))
        self._bases = np.cumsum([0] + [view.passages for view in self.views])
        self.info: CollectionInfo = self._info()

    @property
    def encoder(self) -> EncoderSpec:
        return self.manifest.encoder

    def check_encoder(self, encoder: EncoderSpec) -> None:
        """Raises IndexUnreadable when this encoder's vectors cannot be compared with those here."""
        check_encoder(self.manifest.collection, self.manifest.encoder, encoder)

    def lexical(self, query: str, depth: int, scope: Scope = EVERYTHING, rewordings: Sequence[str] = ()) -> Hits:
        """The best passages that ``scope`` admits by BM25 over title, headings and body.

        ``rewordings`` are texts that mean the same: their terms are looked for beside those of ``query``.
        """
        parsed = widened(parse_query(query, self.analysis), rewordings, self.analysis)
        statistics = sum((view.statistics(parsed) for view in self.views), Statistics())
        return self._merged(depth, lambda view: view.lexical(parsed, depth, statistics, scope))

    def holds(self, words: Sequence[str], scope: Scope = EVERYTHING) -> list[bool]:
        """Whether a passage that ``scope`` admits holds each of these words, in whatever form of it.

        Some microseconds where ``scope`` admits all; else a search for those that so few passages hold that none of
        these may be admitted.
        """
        queries = [LexicalQuery(dict.fromkeys(self.analysis(word), 1)) for word in words]
        every = LexicalQuery({term: 1 for query in queries for term in query.terms})
        held = [False] * len(words)
        for view in self.views:
            allowed, statistics = view.allowed(scope), view.statistics(every)
            hidden = 0 if allowed is None else view.passages - allowed.count()
            for place, query in enumerate(queries):
                least = min((statistics.frequencies.get((BODY, term), 0) for term in query.terms), default=0)
                if least and not held[place]:
                    held[place] = least > hidden or len(view.lexical(query, 1, statistics, scope)) > 0
        return held

    def dense(self, vector: NDArray[np.float32], depth: int, scope: Scope = EVERYTHING) -> Hits:
        """The nearest passages of a unit vector (float32 ``[d]``) that ``scope`` admits, scored by cosine."""
        if vector.shape != (self.info.dimension,):
            raise InvalidRequest(
                f"{self.info.name} holds {self.info.dimension}-d vectors, the query's is {vector.shape}"
            )
        query = np.ascontiguousarray(vector, np.float32)
        return self._merged(depth, lambda view: view.dense(query, depth, scope))

    @property
    def late_spec(self) -> LateSpec | None:
        """The token vectors that its passages are kept with; None when there are none."""
        return self.manifest.settings.late

    def late(self, rows: Rows, query: LateQuery) -> NDArray[np.float32]:
        """Late scores of these passages, in their order: for each token of the query the best cosine with one of the
        passage's, and the mean of those, float32; NaN for a passage whose tokens are not known.

        ``query`` is made by the encoder whose spec is ``late_spec``. Each passage's tokens are read once from mapped
        files: 200 passages of 160 tokens take a millisecond or two of one core.
        """
        spec = self.late_spec
        if spec is None:
            return np.full(len(rows), np.nan, np.float32)
        return np.array(self._read(rows, lambda view, own: view.late(own, query, spec).tolist()), np.float32)

    def passages(self, rows: Rows | Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked."""
        return self._read(rows, lambda view, own: view.read(own))

    def passage_ids(self, rows: Rows | Sequence[int]) -> list[str]:
        """Their ids alone, which cost a tenth."""
        return self._read(rows, lambda view, own: view.passage_ids(own))

    def document(self, document_id: str, principals: frozenset[str] | None = None) -> Document:
        """Raises DocumentNotFound, also for a document that these principals may not see."""
        place = self.find([document_id])[0]
        if place is not None:
            document = self.views[place[0]].document(place[1])
            if Scope(principals=principals).admits(document.metadata, document.acl):
                return document
        raise DocumentNotFound(f"no document has the id {document_id!r}")

    def find(self, document_ids: Sequence[str]) -> list[tuple[int, int] | None]:
        """View and row of each document that is there and not deleted."""
        found: list[tuple[int, int] | None] = [None] * len(document_ids)
        hashes = hashes_of(document_ids) if self.segments else np.empty(0, np.uint64)
        missing = list(range(len(document_ids)))
        for number in reversed(range(len(self.views))):
            view = self.views[number]
            ids = [document_ids[place] for place in missing]
            if isinstance(view, BlockView):
                rows = [view.block.row_of(one) for one in ids]
            else:
                rows = view.segment.rows_of(ids, hashes[missing])
            for place, row in zip(missing, rows, strict=True):
                if 0 <= row < view.documents and row not in view.deleted:
                    found[place] = (number, row)
            missing = [place for place in missing if found[place] is None]
            if not missing:
                break
        return found

    def facets(
        self, keys: Sequence[str], scope: Scope = EVERYTHING, limit: int = FACET_VALUES
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """For each key its commonest values among the documents that ``scope`` admits, with how many have each."""
        found = merged_facets([view.facets(keys, scope) for view in self.views], limit)
        return {key: found.get(key, []) for key in keys}

    def count(self, scope: Scope = EVERYTHING) -> tuple[int, int]:
        """How many documents and passages ``scope`` admits."""
        if scope.filter is None and scope.principals is None:
            return self.info.documents, self.info.passages
        documents = sum(view.admitted_documents(scope).count() for view in self.views)
        allowed = [(view, view.allowed(scope)) for view in self.views]
        return documents, sum(view.passages if bits is None else bits.count() for view, bits in allowed)

    def parts(self) -> Iterator[Part]:
        """All documents, some at a time, with their passages and vectors as stored."""
        for view in self.views:
            rows = view.admitted_documents(EVERYTHING).rows().tolist()
            for start in range(0, len(rows), _EXPORTED_AT_ONCE):
                yield view.part(rows[start : start + _EXPORTED_AT_ONCE])

    def listed(self) -> Iterator[list[tuple[str, int]]]:
        """Ids and versions of all documents, some at a time."""
        for view in self.views:
            rows = view.admitted_documents(EVERYTHING).rows()
            for start in range(0, len(rows), _EXPORTED_AT_ONCE):
                yield view.identities(rows[start : start + _EXPORTED_AT_ONCE])

    def _read(self, rows: Rows | Sequence[int], read: Callable[[View, Rows], list[T]]) -> list[T]:
        """What ``read`` finds for rows of each view, in the order of ``rows``."""
        wanted = np.asarray(rows, np.int64)
        owners = np.searchsorted(self._bases, wanted, side="right") - 1
        order = np.argsort(owners, kind="stable")
        ends = np.searchsorted(owners[order], np.arange(len(self.views)), side="right").tolist()
        found: dict[int, T] = {}
        start = 0
        for number, end in enumerate(ends):
            if end > start:
                places = order[start:end]
                own = read(self.views[number], wanted[places] - self._bases[number])
                found.update(zip(places.tolist(), own, strict=True))
            start = end
        return [found[place] for place in range(len(wanted))]

    def _merged(self, depth: int, search: Callable[[View], Hits]) -> Hits:
        if depth < 1:
            return Hits.empty()
        found = [(base, search(view)) for base, view in zip(self._bases.tolist(), self.views, strict=False)]
        found = [(base, hits) for base, hits in found if len(hits)]
        if not found:
            return Hits.empty()
        rows = np.concatenate([hits.rows + base for base, hits in found])
        scores = np.concatenate([hits.scores for _, hits in found])
        order = np.lexsort((rows, -scores))[:depth]
        return Hits(rows[order], scores[order])

    def _info(self) -> CollectionInfo:
        manifest = self.manifest
        return CollectionInfo(
            name=manifest.collection,
            generation=f"{manifest.collection}@{manifest.epoch}.{self.seq}",
            documents=sum(view.documents - view.dead for view in self.views),
            passages=sum(view.passages - view.dead_passages for view in self.views),
            encoder=manifest.encoder.name,
            dimension=manifest.encoder.dimension,
            bytes=sum(view.segment.manifest.bytes for view in self.segments),
            created=manifest.created,
        )
