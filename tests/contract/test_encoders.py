"""What every encoder promises, run on each of them: the fake, onnxruntime, OpenVINO, sentence-transformers, remote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, cast

import numpy as np
import pytest

from retrieval._native.transformer import available
from retrieval.encoders import OpenEncoder, Runtime, open_encoder, unit
from retrieval.models import read_model
from retrieval.remote_encoders import Flavour, remote_encoder
from retrieval.types import Encoder, Role
from tests.fake_models import FakeEncoder
from tests.requires import need


class ServedEncoder:
    """A transport with an encoder behind it, which answers in the words of one flavour of server."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.sizes: list[int] = []

    def post(self, path: str, json: Mapping[str, Any]) -> Any:
        if path == "/v1/embeddings":
            rows = self._rows(json["input"], "passage")
            # A server may answer out of order: the index counts.
            return {"data": [{"index": at, "embedding": row} for at, row in reversed(list(enumerate(rows)))]}
        return self._rows(json["inputs"], json.get("prompt_name", "passage"))

    def _rows(self, texts: list[str], role: Role) -> list[list[float]]:
        self.sizes.append(len(texts))
        # Servers need not normalise.
        return [[float(value) * 3 for value in row] for row in self.encoder.encode(texts, role)]


def _remote(flavour: Flavour) -> Encoder:
    served = FakeEncoder()
    return remote_encoder(served.spec, ServedEncoder(served), flavour=flavour)


@cache
def _local(name: str, runtime: Runtime) -> Encoder:
    return open_encoder(read_model(need.model(name)), runtime=runtime, threads=1)


def _native(name: str) -> Encoder:
    if not available():
        pytest.xfail("this processor has no AVX-512 VNNI")
    return _local(name, "native")


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "fake": FakeEncoder,
    "remote-openai": lambda: _remote("openai"),
    "remote-tei": lambda: _remote("tei"),
    "remote-riddle": lambda: _remote("riddle"),
    "onnxruntime": lambda: _local("bge-small-en-v1.5", "onnxruntime"),
    "openvino": lambda: _local("bge-small-en-v1.5", "openvino"),
    "auto": lambda: _local("bge-small-en-v1.5", "auto"),
    "sentence-transformers": lambda: _local("all-minilm-l6-v2", "auto"),
    "native": lambda: _native("bge-small-en-v1.5"),
    "minilm-native": lambda: _native("all-minilm-l6-v2"),
    "e5-native": lambda: _native("multilingual-e5-small"),
    "e5-onnxruntime": lambda: _local("multilingual-e5-small", "onnxruntime"),
    "e5-openvino": lambda: _local("multilingual-e5-small", "openvino"),
    "e5-sentence-transformers": lambda: _local("multilingual-e5-small", "sentence-transformers"),
}
REAL = {name for name in ENCODERS if name != "fake" and not name.startswith("remote-")}

TEXTS = (
    "To delete a branch, run git branch --delete NAME.",
    "The moon is made of rock.",
    "",
    "猫坐在垫子上。",
    "Indexes make queries fast. " * 300,
    "a\x00b\tc\n" + "🐈" * 5,
    "A cat sat on the mat.",
)


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] if name in REAL else []) for name in ENCODERS])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return ENCODERS[request.param]()


LOCAL = [name for name in ENCODERS if not name.startswith("remote-")]
"""Those whose tokens are not another server's."""


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] if name in REAL else []) for name in LOCAL])
def apart(request: pytest.FixtureRequest) -> OpenEncoder:
    return cast(OpenEncoder, ENCODERS[request.param]())


@pytest.mark.parametrize("role", ["query", "passage"])
def test_every_text_gets_one_unit_row_of_float32(encoder: Encoder, role: Role) -> None:
    vectors = encoder.encode(TEXTS, role)
    assert vectors.shape == (len(TEXTS), encoder.spec.dimension)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("role", ["query", "passage"])
def test_no_texts_give_an_empty_matrix_of_the_right_width(encoder: Encoder, role: Role) -> None:
    assert encoder.encode([], role).shape == (0, encoder.spec.dimension)


def test_order_and_company_do_not_change_a_vector(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS, "passage")
    backwards = encoder.encode(TEXTS[::-1], "passage")[::-1]
    alone = np.concatenate([encoder.encode([text], "passage") for text in TEXTS])
    # Dynamic quantisation scales by the whole batch, so company moves a vector by a little.
    assert (together * backwards).sum(axis=1).min() > 0.98
    assert (together * alone).sum(axis=1).min() > 0.98


def test_the_same_call_gives_the_same_vectors(encoder: Encoder) -> None:
    assert np.array_equal(encoder.encode(TEXTS, "passage"), encoder.encode(TEXTS, "passage"))


def test_a_text_is_cut_where_the_model_ends(encoder: Encoder) -> None:
    words = "alpha beta gamma delta " * encoder.spec.max_tokens
    longer = encoder.encode([words, words + "omega " * 50], "passage")
    assert longer[0] @ longer[1] > 0.999


def test_a_question_is_nearest_to_the_passage_that_shares_its_matter(encoder: Encoder) -> None:
    query = encoder.encode(["how to delete a git branch"], "query")
    assert int((encoder.encode(TEXTS, "passage") @ query[0]).argmax()) == 0


def test_threads_may_share_an_encoder(encoder: Encoder) -> None:
    alone = [encoder.encode([text], "passage") for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: encoder.encode([text], "passage"), TEXTS * 3))
    for number, vectors in enumerate(found):
        assert (vectors @ alone[number % len(TEXTS)].T).item() > 0.999


def test_an_encoder_taken_apart_gives_the_vectors_that_it_gives_whole(apart: OpenEncoder) -> None:
    roles: tuple[Role, Role] = ("query", "passage")
    for role in roles:
        tokens = apart.tokens(TEXTS, role, apart.spec.max_tokens)
        assert max(map(len, tokens)) <= apart.spec.max_tokens
        vectors = apart.pooled(tokens)
        assert vectors.shape == (len(TEXTS), apart.spec.dimension)
        assert (unit(vectors) * apart.encode(TEXTS, role)).sum(axis=1).min() > 0.98
    assert apart.pooled([]).shape == (0, apart.spec.dimension)


def test_one_token_more_than_fits_tells_that_a_text_is_too_long(apart: OpenEncoder) -> None:
    longest = apart.spec.max_tokens
    short, long = apart.tokens(["a cat", "cat " * longest], None, longest + 1)
    assert len(short) == 4
    assert len(long) == longest + 1


def test_the_spec_says_what_an_index_must_know(encoder: Encoder) -> None:
    spec = encoder.spec
    assert spec.name
    assert spec.dimension > 0
    assert spec.max_tokens > 0
    assert spec.languages
    assert len(spec.fingerprint) == 16


@pytest.mark.slow
def test_runtimes_of_one_model_agree_on_its_vectors() -> None:
    onnxruntime = ENCODERS["onnxruntime"]().encode(TEXTS, "passage")
    openvino = ENCODERS["openvino"]().encode(TEXTS, "passage")
    assert (onnxruntime * openvino).sum(axis=1).min() > 0.97


@pytest.mark.slow
def test_the_query_prefix_is_added_for_queries_alone() -> None:
    encoder = ENCODERS["onnxruntime"]()
    assert encoder.spec.query_prefix
    query = encoder.encode(["a cat"], "query")
    assert np.array_equal(query, encoder.encode([encoder.spec.query_prefix + "a cat"], "passage"))
    assert not np.allclose(query, encoder.encode(["a cat"], "passage"), atol=1e-3)
