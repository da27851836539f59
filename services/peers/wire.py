"""The JSON of the interfaces of others, as their clients write and read it.

A field that is not known here is passed over, for clients send what their own server knows and we do not need.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ModelName = Annotated[
    str | None, Field(max_length=200, description="one that `GET /v1/models` lists; the server's own when left out")
]
TopN = Annotated[int | None, Field(ge=1, description="so many results, best first; all when left out")]
_RERANK: dict[str, Any] = {
    "query": "How do I undo the last commit?",
    "documents": ["git reset --soft HEAD~1 takes it back.", "A branch is a pointer."],
    "top_n": 1,
}


class Peer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class TextDocument(Peer):
    text: str


class JinaRequest(Peer):
    """Jina's rerank request; Cohere's first version is the same."""

    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[list[str | TextDocument], Field(min_length=1)]
    model: ModelName = None
    top_n: TopN = None
    return_documents: bool = True

    model_config = ConfigDict(json_schema_extra={"examples": [_RERANK]})

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(each if isinstance(each, str) else each.text for each in self.documents)


class CohereRequest(Peer):
    """Cohere's rerank request, second version."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[list[str], Field(min_length=1)]
    top_n: TopN = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] = 4096

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "riddle-reranker-en", **_RERANK}]})


class TeiRerankRequest(Peer):
    """text-embeddings-inference's rerank request."""

    query: str
    texts: Annotated[list[str], Field(min_length=1)]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None
    truncation_direction: Literal["right", "Right"] = "Right"

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "cats", "texts": ["A cat sat.", "A dog ran."]}]}
    )


class TeiEmbedRequest(Peer):
    """text-embeddings-inference's request. Without ``prompt_name`` no prefix is put before a text."""

    inputs: str | Annotated[list[str], Field(min_length=1)]
    normalize: bool = True
    truncate: bool | None = None
    truncation_direction: Literal["right", "Right"] = "Right"
    prompt_name: Annotated[
        Literal["query", "passage"] | None, Field(description="the model's own prefix for it is put before each text")
    ] = None
    dimensions: Annotated[int | None, Field(ge=1)] = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": ["A cat sat."], "normalize": True}]})

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.inputs,) if isinstance(self.inputs, str) else tuple(self.inputs)


class OpenAIRequest(Peer):
    """OpenAI's embeddings request, with two fields more that other servers of it have."""

    input: str | Annotated[list[str], Field(min_length=1)] | list[int] | list[list[int]]
    model: Annotated[str, Field(min_length=1, max_length=200)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int | None, Field(ge=1)] = None
    input_type: Annotated[
        Literal["query", "passage", "document"] | None,
        Field(description="the model's own prefix for it is put before each text; none when left out"),
    ] = None
    truncate: Annotated[bool, Field(description="cut what is too long; otherwise it is refused")] = False

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "bge-small-en-v1.5", "input": ["A cat sat."]}]})


class JinaResult(Peer):
    index: int
    relevance_score: float
    document: TextDocument | None = None


class JinaUsage(Peer):
    total_tokens: int
    prompt_tokens: int


class CohereVersion(Peer):
    version: str
    is_experimental: bool = False


class CohereUnits(Peer):
    search_units: int


class CohereTokens(Peer):
    input_tokens: int


class CohereMeta(Peer):
    api_version: CohereVersion
    billed_units: CohereUnits
    tokens: CohereTokens


class JinaResponse(Peer):
    """Jina's answer, with the members that clients of Cohere's first version look for."""

    id: str
    object: Literal["list"] = "list"
    model: str
    usage: JinaUsage
    results: list[JinaResult]
    meta: CohereMeta


class CohereResult(Peer):
    index: int
    relevance_score: float


class CohereResponse(Peer):
    id: str
    results: list[CohereResult]
    meta: CohereMeta


class TeiRank(Peer):
    index: int
    text: str | None = None
    score: float


class OpenAIEmbedding(Peer):
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str
    index: int


class OpenAIUsage(Peer):
    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(Peer):
    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(Peer):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "riddle"


class OpenAIModels(Peer):
    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class TeiInfo(Peer):
    """text-embeddings-inference's account of the model that it serves."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    reranker: Annotated[str | None, Field(description="where `/rerank` is served beside `/embed`: its model")] = None
