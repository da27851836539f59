"""Elasticsearch as `riddle eval` measures it: the search that users have today, on the questions that Riddle gets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from eval.targets import FINAL, Ranking, Searched, Shown
from retrieval.analysis import language_of
from retrieval.errors import InvalidRequest
from retrieval.fusion import rrf
from retrieval.types import Clock, Document, Encoder, Hits
from services.targets.elastic_address import ElasticAddress, parse_address
from services.targets.elastic_cluster import ElasticCluster
from services.targets.elastic_fields import field_of, filled, read_template, shown_fields, text_fields, value_of
from services.targets.riddle import KEPT

if TYPE_CHECKING:
    from services.settings import Settings

TIMEOUT_S = 60.0
MOST_HITS = 10_000
"""``index.max_result_window`` of an index that was not told otherwise."""
LEAST_CANDIDATES = 100
"""That each shard looks at in its graph, however few hits are asked for."""
RRF_K = 60

ANALYZERS: Mapping[str, str] = {"en": "english", "zh": "cjk"}
"""What an index that we load is analysed by, by the language of its first documents."""


@dataclass(frozen=True, slots=True)
class _Hit:
    """One document of one response: its place among the documents, and what is shown of it."""

    passage_id: str
    document_id: str
    score: float
    source: Mapping[str, Any]


class ElasticTarget:
    """SearchTarget over one index: ``multi_match`` is ``lexical``, ``knn`` is ``dense``. Thread-safe.

    With a vector field and an encoder, ``fused`` is reciprocal rank fusion (k = 60) of the two in this process, since
    the cluster's own needs a licence. With a template, its body is the only stage. ``final`` is the last of them.
    Scores keep Elasticsearch's scale.
    """

    def __init__(self, address: ElasticAddress, cluster: ElasticCluster, encoder: Encoder | None = None) -> None:
        """Raises InvalidRequest for a template that cannot be read."""
        self._address, self._cluster, self._encoder = address, cluster, encoder
        self._template = read_template(address.template) if address.template else None

    @property
    def where(self) -> str:
        """The index's address without credentials."""
        return f"{self._address.url}/{self._address.index}"

    def describe(self) -> Mapping[str, Any]:
        """Version, index, fields with their analyzers, and how they are asked."""
        version = self._cluster.info()["version"]
        settings = self._cluster.settings()
        told = {
            "kind": version.get("distribution", "elasticsearch"),
            "url": self._address.url,
            "version": version["number"],
            "lucene": version.get("lucene_version", ""),
            "index": self._address.index,
            "generation": self._generation,
            "documents": self._cluster.count(),
            "analyzers": {name: said.get("analyzer", "default") for name, said in self._texts.items()},
            "similarity": settings.get("similarity", "BM25, k1 = 1.2, b = 0.75"),
            "id": self._address.id_field or "_id",
        }
        if self._template is not None:
            return told | {"template": self._template}
        told |= {"fields": list(self._fields), "type": self._address.type}
        if self._encoder is not None:
            dense = field_of(self._mapping, self._address.vector_field) or {}
            told |= {
                "vector": {
                    "field": self._address.vector_field,
                    "dims": dense.get("dims"),
                    "similarity": dense.get("similarity", "cosine"),
                    "index": dense.get("index_options", {}).get("type", "default"),
                },
                "encoder": self._encoder.spec.name,
                "fusion": f"reciprocal ranks, k = {RRF_K}, in this process",
            }
        return told

    def search(self, query: str, k: int) -> Searched:
        """The best ``k`` documents. Raises RiddleError saying what to do."""
        clock, began = Clock(), time.perf_counter()
        found: dict[str, list[_Hit]] = {}
        if self._template is not None:
            found[FINAL] = self._ask(filled(self._template, query) | {"size": self._size(k)}, FINAL, k, clock.ms)
        else:
            lexical = {"multi_match": {"query": query, "fields": list(self._fields), "type": self._address.type}}
            found["lexical"] = self._ask(self._body(k) | {"query": lexical}, "lexical", k, clock.ms)
        if self._encoder is not None and self._template is None:
            with clock("embed"):
                vector = self._encoder.encode([query], "query")[0].tolist()
            size = self._size(k)
            wide = min(max(2 * size, LEAST_CANDIDATES), MOST_HITS)
            knn = {"field": self._address.vector_field, "query_vector": vector, "k": size, "num_candidates": wide}
            found["dense"] = self._ask(self._body(k) | {"knn": knn}, "dense", k, clock.ms)
        rankings = {stage: _ranking(hits) for stage, hits in found.items()}
        if len(rankings) > 1:
            rankings["fused"] = _fused(rankings)[:k]
        rankings[FINAL] = rankings[list(rankings)[-1]]
        clock.ms["client"] = round((time.perf_counter() - began) * 1000, 3)
        return Searched(rankings, self._shown(rankings, found), clock.ms, self._generation)

    def load(self, documents: Iterable[Document], analyzer: str = "") -> int:
        """Make the index and put documents into it under their own ids; how many.

        ``analyzer`` is one that Elasticsearch has; empty takes ``english``, or ``cjk`` when the first documents are
        Chinese. Raises Conflict when there is such an index, InvalidRequest for a document that is refused.
        """
        rest = iter(documents)
        first = list(islice(rest, 100))
        if not first:
            raise InvalidRequest("there is no document to index")
        chosen = analyzer or ANALYZERS[language_of(" ".join(each.text[:1000] for each in first))]
        text = {"type": "text", "analyzer": chosen}
        self._cluster.create(
            {
                "settings": {"number_of_shards": 1, "number_of_replicas": 0},
                "mappings": {
                    "dynamic": False,
                    "properties": {"document_id": {"type": "keyword"}, "title": text, "text": text},
                },
            }
        )
        return self._cluster.bulk(chain(first, rest))

    @cached_property
    def _mapping(self) -> Mapping[str, Any]:
        mapping = self._cluster.mapping()
        if self._address.vector_field:
            kind = (field_of(mapping, self._address.vector_field) or {}).get("type")
            if kind not in ("dense_vector", "knn_vector"):
                raise InvalidRequest(
                    f"{self._address.vector_field} is no dense_vector of {self._address.index}: {kind or 'not there'}"
                )
        return mapping

    @cached_property
    def _texts(self) -> Mapping[str, Mapping[str, Any]]:
        return dict(text_fields(self._mapping))

    @cached_property
    def _fields(self) -> Sequence[str]:
        """Raises InvalidRequest when there is nothing to search in, naming what there is."""
        there = ", ".join(self._texts) or "none"
        for each in self._address.fields:
            name = each.partition("^")[0]
            if "*" not in name and field_of(self._mapping, name) is None:
                raise InvalidRequest(f"{self._address.index} has no field {name}; its text fields: {there}")
        if not self._address.fields and not self._texts:
            raise InvalidRequest(f"{self._address.index} has no text field: name what to search with ?fields=")
        return self._address.fields or tuple(self._texts)

    @cached_property
    def _generation(self) -> str:
        return f"{self._address.index}@{self._cluster.settings().get('uuid', '')[:8]}"

    @cached_property
    def _shown_fields(self) -> tuple[str, str]:
        return shown_fields(self._texts)

    def _size(self, k: int) -> int:
        """A document of which there are several parts takes several hits."""
        return min(k * 4 if self._address.id_field else k, MOST_HITS)

    def _body(self, k: int) -> dict[str, Any]:
        wanted = [name for name in (*self._shown_fields, self._address.id_field) if name]
        return {"size": self._size(k), "_source": wanted}

    def _ask(self, body: Mapping[str, Any], stage: str, k: int, times: dict[str, float]) -> list[_Hit]:
        """The best ``k`` documents, each at the place of its best hit."""
        found = self._cluster.search(body)
        times[stage] = float(found.get("took", 0))
        hits: dict[str, _Hit] = {}
        for each in found["hits"]["hits"]:
            source = each.get("_source") or {}
            document_id = each["_id"]
            if self._address.id_field:
                document_id = value_of(source, self._address.id_field)
                if not document_id:
                    raise InvalidRequest(
                        f"the hit {each['_id']} has no {self._address.id_field}; ?id= names that field"
                    )
            hits.setdefault(document_id, _Hit(each["_id"], document_id, float(each["_score"] or 0.0), source))
        return list(hits.values())[:k]

    def _shown(self, rankings: Mapping[str, Ranking], found: Mapping[str, list[_Hit]]) -> tuple[Shown, ...]:
        title, text = self._shown_fields
        hits = {hit.document_id: hit for each in reversed([*found.values()]) for hit in each}
        places = {
            stage: {document_id: (rank, score) for rank, (document_id, score) in enumerate(ranking, 1)}
            for stage, ranking in rankings.items()
        }
        return tuple(
            Shown(
                hits[document_id].passage_id,
                document_id,
                score,
                value_of(hits[document_id].source, text),
                value_of(hits[document_id].source, title),
                {stage: ranks[document_id] for stage, ranks in places.items() if document_id in ranks},
            )
            for document_id, score in rankings[FINAL][:KEPT]
        )


@contextmanager
def open_elastic(target: str, key: str = "", settings: Settings | None = None) -> Iterator[ElasticTarget]:
    """The index that ``--target`` names. ``key`` is an API key as Kibana shows it, base64 of id and secret.

    ``settings`` say where encoders are; they are needed when the target names a vector field. Raises InvalidRequest
    for an address that cannot be read; nothing is asked of the cluster yet.
    """
    address = parse_address(target)
    if key and address.user:
        raise InvalidRequest("give the target an API key or a user with password, not both")
    encoder = None
    if address.vector_field:
        if settings is None:
            raise InvalidRequest("?vector= needs an encoder, and no settings say where one is")
        from services.encoders import encoder_named

        encoder = encoder_named(address.encoder or settings.models.encoder, settings)
    auth = (address.user, address.password) if address.user else None
    headers = {"Authorization": f"ApiKey {key}"} if key else {}
    # Proxies and certificates of the environment count here: the cluster is not ours.
    with httpx.Client(auth=auth, headers=headers, timeout=TIMEOUT_S) as http:
        yield ElasticTarget(address, ElasticCluster(address, http), encoder)


def _ranking(hits: Sequence[_Hit]) -> Ranking:
    return tuple((hit.document_id, hit.score) for hit in hits)


def _fused(rankings: Mapping[str, Ranking]) -> Ranking:
    rows: dict[str, int] = {}
    for ranking in rankings.values():
        for document_id, _ in ranking:
            rows.setdefault(document_id, len(rows))
    fused = rrf(
        {
            stage: Hits(
                np.array([rows[document_id] for document_id, _ in ranking], np.int64),
                np.array([score for _, score in ranking], np.float32),
            )
            for stage, ranking in rankings.items()
        },
        RRF_K,
    )
    names = list(rows)
    return tuple((names[row], score) for row, score in zip(fused.rows.tolist(), fused.scores.tolist(), strict=True))
