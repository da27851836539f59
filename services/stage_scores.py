"""Asks a collection many queries, and keeps what every stage said of every candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ranking.stage_table import StageTable, stage_table
from services.asking import Asker
from services.targets.riddle import Loop
from services.wire import SearchRequest, SearchResponse
from services.wire_ranking import RankingOptions, Rerank

SHOWN = 200
"""Passages that are asked for: all that two channels of depth 100 can bring."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One query's candidates as recall ordered them, and what the stages scored."""

    query_id: str
    documents: tuple[str, ...]
    """The document of each candidate."""
    passages: tuple[str, ...]
    table: StageTable
    degraded: tuple[str, ...] = ()


def ask_all(
    loop: Loop,
    asker: Asker,
    collection: str,
    queries: Mapping[str, str],
    depth: int,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Seen]:
    """Search for each query with ``depth`` candidates reranked, one at a time. Raises RiddleError.

    Candidates come in fused order, whatever the final one is, so that what is learned from them
    does not depend on what was learned before.
    """
    for done, (query_id, text) in enumerate(queries.items(), 1):
        request = SearchRequest(
            query=text,
            collection=collection,
            k=SHOWN,
            ranking=RankingOptions(rerank=Rerank(depth=depth)),
            explain=True,
        )
        yield seen(query_id, text, loop.run(asker.search(request)))
        say(done, len(queries))


def seen(query_id: str, query: str, response: SearchResponse) -> Seen:
    """What one explained answer tells of the stages."""
    shown = sorted(
        response.results,
        key=lambda each: (each.explain or {})["fused"].rank if "fused" in (each.explain or {}) else 1 << 30,
    )
    stages = [{name: stage.score for name, stage in (each.explain or {}).items()} for each in shown]
    return Seen(
        query_id,
        tuple(each.document_id for each in shown),
        tuple(each.passage_id for each in shown),
        stage_table(query, stages),
        tuple(response.degraded),
    )
