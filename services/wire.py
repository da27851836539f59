"""The JSON that callers of the gateway write and read: every field, its limits, and how it maps to our nouns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from generation.events import Citation, FinalAnswer
from retrieval.types import Candidate, StageScore
from services.examples import ANSWER_REQUEST, FILTERS, SEARCH_REQUESTS, SEARCH_RESPONSE
from services.wire_ranking import RankingOptions
from services.wire_understanding import Corrected, Understanding

Scalar = str | int | float | bool | None
WireMetadata: TypeAlias = dict[str, Scalar | list[Scalar]]
Span = Annotated[
    tuple[int, int], Field(description="Unicode code points, end exclusive", json_schema_extra={"type": "array"})
]


class Wire(BaseModel):
    """An unknown field is an error, so that a typo never passes for a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Query = Annotated[str, Field(min_length=1, pattern=r"\S", description="what to look for, in the user's own words")]
CollectionName = Annotated[
    str | None, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="the server's default when left out")
]
Count = Annotated[int | None, Field(ge=1, description="how many passages; the server's default when left out")]
Budget = Annotated[
    int | None,
    Field(ge=1, le=600_000, description="milliseconds for the search; short of time, stages are left out and named"),
]


Filters = Annotated[
    dict[str, Any] | None,
    Field(
        description="what the metadata must be like: a key compared (`eq ne gt gte lt lte in nin`) with a value, "
        "or `and` and `or` over such. Nothing else is found, counted or shown",
        examples=[FILTERS],
    ),
]
Key = Annotated[str, Field(min_length=1, max_length=128)]


class SearchRequest(Wire):
    query: Query
    collection: CollectionName = None
    k: Count = None
    filters: Filters = None
    group_by: Annotated[
        Literal["document"] | None,
        Field(description="put each document's passages together, in the order of its best; `k` counts documents then"),
    ] = None
    group_size: Annotated[
        int | None, Field(ge=1, le=100, description="the most passages of one document; 1 when left out")
    ] = None
    facets: Annotated[
        list[Key],
        Field(
            max_length=10, description="metadata keys: count their values among all documents that the filters admit"
        ),
    ] = []
    cursor: Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")] = None
    ranking: RankingOptions = RankingOptions()
    understanding: Understanding = Understanding()
    budget_ms: Budget = None
    explain: Annotated[bool, Field(description="say what each stage made of each passage")] = False

    model_config = ConfigDict(json_schema_extra={"examples": SEARCH_REQUESTS})

    @model_validator(mode="after")
    def _groups_have_a_size(self) -> SearchRequest:
        if self.group_size is not None and self.group_by is None:
            raise ValueError("group_size: it goes with `group_by`")
        return self


class AnswerRequest(Wire):
    query: Query
    collection: CollectionName = None
    k: Count = None
    filters: Filters = None
    ranking: RankingOptions = RankingOptions()
    understanding: Understanding = Understanding()
    budget_ms: Budget = None
    explain: bool = False

    model_config = ConfigDict(json_schema_extra={"examples": [ANSWER_REQUEST]})

    def as_search(self) -> SearchRequest:
        return SearchRequest(
            query=self.query,
            collection=self.collection,
            k=self.k,
            filters=self.filters,
            ranking=self.ranking,
            understanding=self.understanding,
            budget_ms=self.budget_ms,
            explain=self.explain,
        )


class Stage(Wire):
    rank: int
    score: float

    @classmethod
    def of(cls, stage: StageScore) -> Stage:
        return cls(rank=stage.rank, score=stage.score)


class Result(Wire):
    passage_id: str
    document_id: str
    score: float
    scored_by: Annotated[str, Field(description="the stage whose scale `score` is on")]
    text: str
    offsets: Annotated[Span, Field(description="where `text` stands in the document, in code points")]
    title: str = ""
    headings: list[str] = []
    page: int | None = None
    context: Annotated[str, Field(description="text from elsewhere that belongs in front: a table's header")] = ""
    source: str = ""
    metadata: WireMetadata = {}
    explain: Annotated[dict[str, Stage] | None, Field(description="only when the request says `explain`")] = None

    @classmethod
    def of(cls, candidate: Candidate, *, explain: bool) -> Result:
        passage = candidate.passage
        return cls(
            passage_id=passage.passage_id,
            document_id=passage.document_id,
            score=candidate.score,
            scored_by=candidate.scored_by,
            text=passage.text,
            offsets=passage.offsets,
            title=passage.title,
            headings=list(passage.headings),
            page=passage.page,
            context=passage.context,
            source=passage.source,
            metadata=wire_metadata(passage.metadata),
            explain={name: Stage.of(stage) for name, stage in candidate.stages.items()} if explain else None,
        )


class FacetCount(Wire):
    value: Scalar
    count: Annotated[int, Field(description="documents that have it, of those that the filters and the key admit")]


class SearchResponse(Wire):
    results: list[Result]
    correction: Corrected = None
    facets: Annotated[
        dict[str, list[FacetCount]] | None, Field(description="by key, most documents first; only when asked for")
    ] = None
    generation: Annotated[str, Field(description="the state of the collection that was searched")]
    cache: Literal["hit", "miss"]
    degraded: Annotated[list[str], Field(description="stages that should have run and did not")]
    partial: Annotated[bool, Field(description="whether a part of the collection did not answer")] = False
    timings_ms: dict[str, float]
    next_cursor: str | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [SEARCH_RESPONSE]})


class WireCitation(Wire):
    id: str
    answer_span: Annotated[Span, Field(description="code points of `answer`")]
    passage_id: str
    source_span: Annotated[Span, Field(description="code points of the document's text")]
    verdict: Annotated[str, Field(description="`quoted`: word for word; `closest`: the nearest sentence, not checked")]

    @classmethod
    def of(cls, citation: Citation) -> WireCitation:
        return cls(
            id=citation.id,
            answer_span=citation.answer_span,
            passage_id=citation.passage_id,
            source_span=citation.source_span,
            verdict=citation.verdict,
        )


class TokenUsage(Wire):
    prompt_tokens: int
    completion_tokens: int


class SearchResultsEvent(Wire):
    """The first event of a stream: what the answer rests on."""

    generation: str
    results: list[Result]
    degraded: list[str] = []
    correction: Corrected = None


class FinalAnswerEvent(Wire):
    """The last event of a stream that went well."""

    answer: str
    citations: list[WireCitation]
    abstained: bool
    usage: TokenUsage
    timings_ms: dict[str, float]
    engine: str
    degraded: list[str] = []

    @classmethod
    def of(cls, final: FinalAnswer, timings_ms: Mapping[str, float], degraded: Sequence[str]) -> FinalAnswerEvent:
        """``timings_ms`` and ``degraded`` are the search's own; the answer's are joined to them."""
        return cls(
            answer=final.answer,
            citations=[WireCitation.of(citation) for citation in final.citations],
            abstained=final.abstained,
            usage=TokenUsage(prompt_tokens=final.usage.prompt_tokens, completion_tokens=final.usage.completion_tokens),
            timings_ms=_answer_timings(timings_ms, final.timings_ms),
            engine=final.engine,
            degraded=[*degraded, *final.degraded],
        )


class AnswerResponse(FinalAnswerEvent):
    """The same as the last event, with the passages: for callers that do not stream."""

    generation: str
    results: list[Result]
    correction: Corrected = None


class Readiness(Wire):
    parts: Annotated[dict[str, str], Field(description="`ok`, or why the part is not ready")]


def _answer_timings(search: Mapping[str, float], answer: Mapping[str, float]) -> dict[str, float]:
    """One account of both: the search's total becomes ``search``, and ``total`` spans the whole."""
    timings = {("search" if stage == "total" else stage): ms for stage, ms in search.items()} | dict(answer)
    timings["total"] = round(search.get("total", 0.0) + answer.get("total", 0.0), 3)
    return timings


def wire_metadata(metadata: Mapping[str, Scalar | Sequence[Scalar]]) -> WireMetadata:
    return {key: value if isinstance(value, Scalar) else list(value) for key, value in metadata.items()}
