"""The interfaces of others as their clients use them: shapes recorded from their documentation, and real clients."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from retrieval.encoders import unit
from retrieval.errors import ModelMissing, Overloaded, Unavailable
from retrieval.tokens import Encoded
from retrieval.types import Role
from services.auth import KeyDoor
from services.frame import framed_app
from services.keys import key_ring
from services.peers.limits import PeerSettings
from services.peers.listing import models_router
from services.peers.ports import ScoreCall, Scored, ServedModel
from services.telemetry import Telemetry
from tests.fake_models import FakeEncoder
from tests.live import LiveServer, Stage, served, wait_until
from tests.service.conftest import Gateway, Live
from tests.shared_models import PEERS

QUERY = "start the server"
TEXTS = ["nothing of it", "start the server now", "the server"]
WORTH = [1 / (1 + np.exp(-logit)) for logit in (-4.0, 4.0, 8 * 2 / 3 - 4)]


def post(live: Live, path: str, body: object) -> httpx.Response:
    return live.http.post(path, json=body)


def answered(live: Live, path: str, body: object) -> Any:
    reply = post(live, path, body)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{live.server.url}/v1", api_key="any", max_retries=0, http_client=httpx.Client(trust_env=False)
    ) as made:
        yield made


def test_jina_gets_its_results_with_documents_and_a_count_of_tokens(live: Live) -> None:
    said = answered(live, "/v1/rerank", {"model": "fake-reranker", "query": QUERY, "documents": TEXTS, "top_n": 2})
    assert [(each["index"], each["document"]) for each in said["results"]] == [
        (1, {"text": TEXTS[1]}),
        (2, {"text": TEXTS[2]}),
    ]
    assert [each["relevance_score"] for each in said["results"]] == pytest.approx([WORTH[1], WORTH[2]])
    tokens = 3 * (3 + 3) + 3 + 4 + 2
    assert said["usage"] == {"total_tokens": tokens, "prompt_tokens": tokens}
    assert (said["object"], said["model"]) == ("list", "fake-reranker")


def test_jina_documents_may_be_objects_and_need_not_come_back(live: Live) -> None:
    documents = [{"text": TEXTS[0]}, TEXTS[1], {"text": TEXTS[2], "title": "unused"}]
    body = {"query": QUERY, "documents": documents, "return_documents": False, "user": "somebody"}
    said = answered(live, "/v1/rerank", body)
    assert [each["index"] for each in said["results"]] == [1, 2, 0]
    assert all("document" not in each for each in said["results"])


def test_a_client_of_coheres_first_version_finds_what_it_reads_there(live: Live) -> None:
    said = answered(live, "/v1/rerank", {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS})
    assert said["id"]
    assert said["meta"]["api_version"]["version"] == "1"
    assert said["meta"]["billed_units"] == {"search_units": 1}


def test_cohere_gets_places_and_scores_and_nothing_more(live: Live) -> None:
    body = {"model": "fake-reranker", "query": QUERY, "documents": TEXTS, "top_n": 2, "priority": 0}
    said = answered(live, "/v2/rerank", body)
    assert [sorted(each) for each in said["results"]] == [["index", "relevance_score"]] * 2
    assert [each["index"] for each in said["results"]] == [1, 2]
    assert said["meta"]["api_version"] == {"version": "2", "is_experimental": False}
    assert said["meta"]["billed_units"] == {"search_units": 1}
    assert said["meta"]["tokens"] == {"input_tokens": 3 * (3 + 3) + 3 + 4 + 2}


def test_cohere_reads_so_many_tokens_of_a_document(live: Live) -> None:
    body = {"model": "fake-reranker", "query": "server", "documents": ["the server", "server"], "max_tokens_per_doc": 1}
    said = answered(live, "/v2/rerank", body)
    assert [each["index"] for each in said["results"]] == [1, 0]
    assert said["results"][1]["relevance_score"] < 0.02


def test_tei_ranks_texts_as_a_plain_list(live: Live) -> None:
    ranks = answered(live, "/rerank", {"query": QUERY, "texts": TEXTS})
    assert [sorted(each) for each in ranks] == [["index", "score"]] * 3
    assert [each["index"] for each in ranks] == [1, 2, 0]
    assert [each["score"] for each in ranks] == pytest.approx(sorted(WORTH, reverse=True))


def test_tei_gives_raw_scores_and_texts_when_asked(live: Live) -> None:
    body = {"query": QUERY, "texts": TEXTS, "raw_scores": True, "return_text": True, "truncate": True}
    ranks = answered(live, "/rerank", body)
    assert ranks[0] == {"index": 1, "text": TEXTS[1], "score": 4.0}
    assert ranks[2] == {"index": 0, "text": TEXTS[0], "score": -4.0}


def test_tei_encodes_one_text_or_many_and_normalises_unless_told(live: Live) -> None:
    encoder = live.gateway.encoder
    assert np.allclose(answered(live, "/embed", {"inputs": TEXTS}), encoder.encode(TEXTS, "passage"), atol=1e-6)
    (one,) = answered(live, "/embed", {"inputs": TEXTS[0]})
    assert np.allclose(one, encoder.encode(TEXTS[:1], "passage")[0], atol=1e-6)
    (raw,) = answered(live, "/embed", {"inputs": "word word word word", "normalize": False})
    assert np.linalg.norm(raw) == pytest.approx(2.0)


def test_the_real_openai_client_gets_vectors_and_counts(live: Live, client: openai.OpenAI) -> None:
    found = client.embeddings.create(model="fake-encoder", input=TEXTS)  # asks for base64 and reads it
    assert np.allclose(
        [each.embedding for each in found.data], live.gateway.encoder.encode(TEXTS, "passage"), atol=1e-6
    )
    assert [each.index for each in found.data] == [0, 1, 2]
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (15, 15)
    assert (found.model, found.object) == ("fake-encoder", "list")
    plain = client.embeddings.create(model="text-embedding-3-small", input=TEXTS[0], encoding_format="float")
    assert np.allclose(plain.data[0].embedding, found.data[0].embedding, atol=1e-6)


def test_base64_is_float32_little_endian(live: Live) -> None:
    body = {"model": "fake-encoder", "input": TEXTS[:1], "encoding_format": "base64"}
    text = answered(live, "/v1/embeddings", body)["data"][0]["embedding"]
    vector = np.frombuffer(base64.b64decode(text), "<f4")
    assert np.allclose(vector, live.gateway.encoder.encode(TEXTS[:1], "passage")[0], atol=1e-6)


def test_dimensions_are_those_that_the_model_was_trained_for(live: Live, client: openai.OpenAI) -> None:
    whole = client.embeddings.create(model="fake-encoder", input="a b c", dimensions=64)
    short = client.embeddings.create(model="fake-encoder", input="a b c", dimensions=16)
    cut = np.asarray(whole.data[0].embedding[:16], np.float32)
    assert np.allclose(short.data[0].embedding, unit(cut[None, :])[0], atol=1e-6)
    with pytest.raises(openai.BadRequestError, match="gives 64, or 16, not 32"):
        client.embeddings.create(model="fake-encoder", input="a", dimensions=32)


class Listening(FakeEncoder):
    """Keeps the roles that it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.roles: list[Role | None] = []

    def tokens(self, texts: Sequence[str], role: Role | None, max_tokens: int) -> list[Encoded]:
        self.roles.append(role)
        return super().tokens(texts, role, max_tokens)


def test_a_prefix_is_put_before_a_text_only_when_its_role_is_told(
    stage: tuple[Stage, LiveServer, httpx.Client],
) -> None:
    on, _, http = stage
    encoder = Listening()
    on.app = Gateway(encoder=encoder).app
    for path, body in (
        ("/v1/embeddings", {"model": "fake-encoder", "input": "a"}),
        ("/v1/embeddings", {"model": "fake-encoder", "input": "a", "input_type": "query"}),
        ("/v1/embeddings", {"model": "fake-encoder", "input": "a", "input_type": "document"}),
        ("/embed", {"inputs": "a"}),
        ("/embed", {"inputs": "a", "prompt_name": "query"}),
    ):
        assert http.post(path, json=body).status_code == 200
    assert encoder.roles == [None, "query", "passage", None, "query"]


def test_the_real_openai_client_lists_models_and_finds_one_by_any_of_its_names(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == ["fake-encoder", "text-embedding-3-small", "fake-reranker", "rerank-v3.5"]
    assert {model.object for model in listed} == {"model"}
    assert listed[0].created == 1_700_000_000
    assert client.models.retrieve("ORG/fake-encoder").id == "fake-encoder"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-x")


def test_info_and_health_speak_as_tei_does(live: Live) -> None:
    info = live.http.get("/info").json()
    assert info["model_id"] == "fake-encoder"
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (info["max_input_length"], info["max_client_batch_size"], info["auto_truncate"]) == (512, 20, True)
    assert info["reranker"] == "fake-reranker"
    assert live.http.get("/health").status_code == 200
    live.gateway.rank.state = "loading"
    unhealthy = live.http.get("/health")
    assert unhealthy.status_code == 503
    assert unhealthy.json()["error_type"] == "Unhealthy"


class Away:
    """A model whose service does not answer."""

    async def model(self) -> ServedModel:
        raise Unavailable("the rerank service does not answer", stage="rerank")

    async def score(self, call: ScoreCall) -> Scored:
        raise Unavailable("the rerank service does not answer", stage="rerank")


def test_a_model_that_is_away_leaves_the_list_and_is_not_said_to_be_unknown() -> None:
    gateway = Gateway()

    async def ready() -> dict[str, str]:
        return {}

    app = framed_app("models", ready=ready, telemetry=Telemetry(), body_limit=1000)
    app.include_router(models_router(gateway.embed, Away(), PEERS, ready, "1"))
    with served(app) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        listed = http.get("/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["fake-encoder", "text-embedding-3-small"]
        assert http.get("/v1/models/fake-encoder").status_code == 200
        assert http.get("/v1/models/fake-reranker").status_code == 503
        assert http.get("/info").json()["reranker"] is None


UNKNOWN = {
    "/v1/embeddings": {"model": "gpt-x", "input": "a"},
    "/v1/rerank": {"model": "gpt-x", "query": "a", "documents": ["b"]},
    "/v2/rerank": {"model": "gpt-x", "query": "a", "documents": ["b"]},
}


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_model_that_is_not_here_is_404_in_the_words_of_each(live: Live, path: str) -> None:
    reply = post(live, path, UNKNOWN[path])
    assert reply.status_code == 404
    said = reply.json()
    assert said["code"] == "model_not_found"
    words = said["error"]["message"] if path == "/v1/embeddings" else said["message"]
    assert words.startswith("the model `gpt-x` does not exist here")
    assert said["detail"] == words  # what Jina's clients read


def test_the_real_openai_client_raises_its_own_errors(live: Live, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="gpt-x", input="a")
    assert unknown.value.code == "model_not_found"
    assert unknown.value.type == "invalid_request_error"
    live.gateway.encoder.fail_with = Overloaded("too much", retry_after_ms=1500)
    with pytest.raises(openai.RateLimitError) as busy:
        client.embeddings.create(model="fake-encoder", input="a")
    assert busy.value.response.headers["retry-after"] == "2"
    assert busy.value.code == "rate_limit_exceeded"
    live.gateway.encoder.fail_with = Unavailable("gone", stage="embed")
    with pytest.raises(openai.InternalServerError) as gone:
        client.embeddings.create(model="fake-encoder", input="a")
    assert gone.value.status_code == 503


def test_token_ids_are_refused_with_what_to_do(client: openai.OpenAI) -> None:
    for ids in ([1, 2, 3], [[1, 2], [3]]):
        with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
            client.embeddings.create(model="fake-encoder", input=ids)


def test_a_text_that_is_too_long_is_refused_by_openais_and_cut_by_teis_unless_told(
    live: Live, client: openai.OpenAI
) -> None:
    words = "word " * 600
    with pytest.raises(openai.BadRequestError, match="602 tokens, and fake-encoder reads 512"):
        client.embeddings.create(model="fake-encoder", input=words)
    cut = client.embeddings.create(model="fake-encoder", input=words, extra_body={"truncate": True})
    assert cut.usage.total_tokens == 512
    assert post(live, "/embed", {"inputs": words}).headers["x-compute-tokens"] == "512"
    refused = post(live, "/embed", {"inputs": words, "truncate": False})
    assert (refused.status_code, refused.json()["error_type"]) == (422, "Validation")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "fake-encoder", "input": ["a"] * 21}),
        ("/embed", {"inputs": ["a"] * 21}),
        ("/v1/rerank", {"query": "a", "documents": ["b"] * 21}),
        ("/v2/rerank", {"model": "fake-reranker", "query": "a", "documents": ["b"] * 21}),
        ("/rerank", {"query": "a", "texts": ["b"] * 21}),
    ],
)
def test_too_many_texts_and_too_many_characters_are_413(live: Live, path: str, body: dict[str, Any]) -> None:
    many = post(live, path, body)
    assert many.status_code == 413
    assert "21 texts, and at most 20 are taken" in many.json()["detail"]
    field = next(name for name in ("input", "inputs", "documents", "texts") if name in body)
    large = post(live, path, {**body, field: ["x" * 5001]})
    assert large.status_code == 413
    assert "characters, and at most 5,000 are taken" in large.json()["detail"]
    assert post(live, path, {**body, field: ["x" * 60_000]}).status_code == 413


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/embeddings", {"model": "fake-encoder"}, 400),
        ("/v1/embeddings", {"model": "fake-encoder", "input": []}, 400),
        ("/v1/embeddings", {"input": "a"}, 400),
        ("/v1/rerank", {"query": "a", "documents": []}, 422),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": 0}, 422),
        ("/v2/rerank", {"query": "a", "documents": ["b"]}, 422),
        ("/rerank", {"query": "a", "texts": []}, 422),
        ("/embed", {"inputs": [3]}, 422),
        ("/embed", {"inputs": "a", "prompt_name": "poem"}, 422),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_words_of_each(
    live: Live, path: str, body: dict[str, Any], status: int
) -> None:
    reply = post(live, path, body)
    assert reply.status_code == status
    said = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert said["status"] == status
    told = said["message"] if "/v1/r" in path or "/v2/r" in path else said["error"]
    assert (told["message"] if path == "/v1/embeddings" else told) == said["detail"]


def test_models_are_behind_the_door_and_refusals_are_in_the_words_of_each(
    stage: tuple[Stage, LiveServer, httpx.Client], tmp_path: Any
) -> None:
    on, _, http = stage
    ring = key_ring(tmp_path)
    _, token = ring.create(["group:eng"])
    on.app = Gateway(door=KeyDoor(ring, exposed=True)).app
    asked = {**UNKNOWN, "/embed": {"inputs": "a"}, "/rerank": {"query": "a", "texts": ["b"]}, "/retrieval": {}}
    for path, body in asked.items():
        refused = http.post(path, json=body)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        said = refused.json()
        assert said["code"] == "unauthorized"
        assert {"error", "message", "error_code"} & set(said)
    assert http.get("/info").status_code == http.get("/v1/models").status_code == 401
    assert http.get("/health").status_code == 200
    with_key = http.post("/embed", json={"inputs": "a"}, headers={"Authorization": f"Bearer {token}"})
    assert with_key.status_code == 200
    errors = http.post("/v1/embeddings", json=UNKNOWN["/v1/embeddings"]).json()["error"]
    assert errors["code"] == "invalid_api_key"


def test_a_model_that_is_missing_is_424_as_of_a_backend(live: Live) -> None:
    live.gateway.encoder.fail_with = ModelMissing("pull it")
    reply = post(live, "/embed", {"inputs": "a"})
    assert (reply.status_code, reply.json()["error_type"]) == (424, "Backend")


def test_concurrent_small_requests_share_batches_and_metrics_tell(
    stage: tuple[Stage, LiveServer, httpx.Client],
) -> None:
    on, server, http = stage
    gateway = Gateway(peers=PeerSettings(batch_wait_ms=100.0))
    on.app = gateway.app
    http.get("/v1/models")  # loaded
    replies: list[httpx.Response] = []

    def ask(number: int) -> None:
        replies.append(
            httpx.post(f"{server.url}/embed", json={"inputs": f"text {number}"}, trust_env=False, timeout=60)
        )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply.status_code for reply in replies] == [200] * 8
    metrics = http.get("/metrics").text
    (batches,) = [line for line in metrics.splitlines() if line.startswith('riddle_batch_callers_count{stage="embed"}')]
    (callers,) = [line for line in metrics.splitlines() if line.startswith('riddle_batch_callers_sum{stage="embed"}')]
    assert float(callers.split()[-1]) == 8
    assert float(batches.split()[-1]) < 8


def test_a_client_that_leaves_takes_its_texts_with_it(stage: tuple[Stage, LiveServer, httpx.Client]) -> None:
    on, server, http = stage
    gateway = Gateway(peers=PeerSettings(batch_wait_ms=30_000.0))  # it would wait for company long after the test
    on.app = gateway.app
    http.get("/v1/models")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/embed", json={"inputs": "a b c"}, trust_env=False, timeout=1.0)
    gone = 'riddle_request_seconds_count{method="POST",route="/embed",status="499"} 1.0'
    wait_until(lambda: gone in http.get("/metrics").text)
