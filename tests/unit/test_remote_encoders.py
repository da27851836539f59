"""What is asked of embedding servers, and what becomes of wrong answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from retrieval.errors import InvalidRequest, Unavailable
from retrieval.remote_encoders import Flavour, remote_encoder
from retrieval.types import EncoderSpec

SPEC = EncoderSpec("small", 2, 512, ("en",), query_prefix="query: ", passage_prefix="passage: ")


class Canned:
    """Answers every post with the same thing and remembers what was posted."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.posts: list[tuple[str, Mapping[str, Any]]] = []

    def post(self, path: str, json: Mapping[str, Any]) -> Any:
        self.posts.append((path, json))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("flavour", "path", "body"),
    [
        ("openai", "/v1/embeddings", {"model": "m", "input": ["query: a"], "encoding_format": "float"}),
        ("tei", "/embed", {"inputs": ["query: a"], "normalize": True, "truncate": True}),
        ("riddle", "/embed", {"inputs": ["a"], "normalize": True, "truncate": True, "prompt_name": "query"}),
    ],
)
def test_each_kind_of_server_is_asked_in_its_own_words(flavour: Flavour, path: str, body: dict[str, Any]) -> None:
    rows = [[3.0, 4.0]]
    server = Canned({"data": [{"index": 0, "embedding": rows[0]}]} if flavour == "openai" else rows)
    vectors = remote_encoder(SPEC, server, flavour=flavour, model="m").encode(["a"], "query")
    assert server.posts == [(path, body)]
    assert vectors.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


@pytest.mark.parametrize(
    "answer",
    [{"error": "no"}, None, [], [[1.0, 0.0], [1.0, 0.0]], [["a", "b"]], [[0.0, 0.0]], [[float("nan"), 1.0]], 7],
)
def test_an_answer_that_is_not_embeddings_makes_the_server_unavailable(answer: Any) -> None:
    with pytest.raises(Unavailable, match="small") as caught:
        remote_encoder(SPEC, Canned(answer), flavour="tei").encode(["a"], "query")
    assert caught.value.stage == "embed"


def test_vectors_of_another_width_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match="3 dimensions where 2 are needed"):
        remote_encoder(SPEC, Canned([[1.0, 0.0, 0.0]]), flavour="tei").encode(["a"], "query")


def test_what_the_transport_raises_comes_through() -> None:
    with pytest.raises(Unavailable, match="refused"):
        remote_encoder(SPEC, Canned(Unavailable("refused")), flavour="tei").encode(["a"], "query")


def test_an_unknown_width_is_found_out_by_asking() -> None:
    unknown = EncoderSpec("small", 0, 512, ("*",))
    assert remote_encoder(unknown, Canned([[1.0, 0.0, 0.0]]), flavour="tei").spec.dimension == 3


def test_a_long_list_goes_in_several_requests() -> None:
    class Counting(Canned):
        def post(self, path: str, json: Mapping[str, Any]) -> Any:
            super().post(path, json)
            return [[1.0, 0.0]] * len(json["inputs"])

    server = Counting(None)
    remote_encoder(SPEC, server, flavour="tei").encode(["word " * 50] * 100, "passage")
    assert [len(body["inputs"]) for _, body in server.posts] == [32, 32, 32, 4]
