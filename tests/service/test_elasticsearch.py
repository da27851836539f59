"""A real Elasticsearch as a target: loaded, as good as an independent BM25, and failing in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eval.datasets import Dataset, open_dataset
from eval.retrieval_metrics import evaluate
from eval.stages import as_run
from retrieval.errors import CollectionNotFound, Conflict, InvalidRequest, Unavailable
from services.cli import run
from services.settings import environment
from services.targets.elastic import ElasticTarget, open_elastic
from services.targets.elastic_address import parse_address
from services.targets.elastic_cluster import ElasticCluster
from tests.live import free_port
from tests.processes import Program, answers, program
from tests.requires import need
from tests.unit.test_elastic_target import Encoder

pytestmark = pytest.mark.slow

TOLERANCE = 0.01
"""Of nDCG@10. Lucene keeps a document's length in one byte, and its stemmer and stop words differ in some words."""


class Node:
    """One node on a port of its own."""

    def __init__(self, port: int, process: Program) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = process

    def index(self, name: str) -> str:
        return f"elasticsearch:{self.url}/{name}"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    start, folder, port = need.elasticsearch(), tmp_path_factory.mktemp("elasticsearch"), free_port()
    command = [str(start), str(folder / "data"), str(port)]
    environ = {**environment(), "ES_HEAP": "512m"}
    with program("elasticsearch", command, environ, folder / "log") as process:
        running = Node(port, process)
        process.wait_until(lambda: answers(running.url))
        yield running


@pytest.fixture(scope="module")
def cranfield() -> Dataset:
    return open_dataset(need.data("cranfield"))


@pytest.fixture(scope="module")
def loaded(node: Node, cranfield: Dataset) -> str:
    with open_elastic(node.index("cranfield")) as index:
        assert index.load(cranfield.documents()) == 1400
    return node.index("cranfield")


def bm25s_run(dataset: Dataset, k: int) -> dict[str, dict[str, float]]:
    """The same text by bm25s: Lucene's formula and its usual parameters, English stop words, Snowball's stems."""
    import bm25s
    import Stemmer

    documents = list(dataset.documents())
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: list[str]) -> object:
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    peer = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    peer.index(tokens([each.text for each in documents]), show_progress=False)
    rows, scores = peer.retrieve(tokens([each.text for each in dataset.questions.values()]), k=k, show_progress=False)
    return {
        query_id: {documents[row].document_id: float(score) for row, score in zip(*found, strict=True)}
        for query_id, *found in zip(dataset.questions, rows.tolist(), scores.tolist(), strict=True)
    }


def test_a_real_index_finds_as_well_as_an_independent_bm25(loaded: str, cranfield: Dataset) -> None:
    with open_elastic(f"{loaded}?fields=text") as index:
        run_ = {
            query_id: as_run(index.search(each.text, 100).rankings["final"])
            for query_id, each in cranfield.questions.items()
        }
    ours = evaluate(cranfield.qrels, run_, ["nDCG@10"])["nDCG@10"]
    peer = evaluate(cranfield.qrels, bm25s_run(cranfield, 100), ["nDCG@10"])["nDCG@10"]
    assert ours == pytest.approx(peer, abs=TOLERANCE)
    assert ours > 0.35


def test_a_real_index_shows_what_it_found_and_says_what_it_is(loaded: str) -> None:
    with open_elastic(loaded) as index:
        found = index.search("boundary layer", 7)
        told = index.describe()
    assert len(found.rankings["final"]) == 7
    assert all(each.text and each.title for each in found.shown)
    assert (told["kind"], told["documents"], told["fields"]) == ("elasticsearch", 1400, ["text", "title"])
    assert told["analyzers"] == {"text": "english", "title": "english"}
    assert told["version"].startswith("8.")


def test_vectors_of_a_real_index_are_fused_with_its_words(node: Node) -> None:
    vector = {"type": "dense_vector", "dims": 2, "similarity": "cosine"}
    rows = {"words": ("static files", [-1.0, 0.0]), "both": ("static pages", [0.6, 0.8]), "near": ("other", [0.5, 0.9])}
    with httpx.Client(base_url=node.url, trust_env=False) as http:
        mapping = {"properties": {"text": {"type": "text"}, "emb": vector, "key": {"type": "keyword"}}}
        assert http.put("/vectors", json={"mappings": mapping}).is_success
        for name, (text, values) in rows.items():
            row = {"text": text, "emb": values, "key": name}
            assert http.post("/vectors/_doc?refresh=true", json=row).is_success
        address = parse_address(node.index("vectors?vector=emb&id=key"))
        index = ElasticTarget(address, ElasticCluster(address, http), Encoder())
        found = index.search("static files", 3)
        assert index.describe()["vector"]["dims"] == 2
    assert {name for name, _ in found.rankings["lexical"]} == {"words", "both"}
    assert [name for name, _ in found.rankings["dense"]] == ["both", "near", "words"]
    assert found.rankings["final"][0][0] == "both"


def test_a_search_of_ones_own_is_sent_as_it_is(loaded: str, tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    path.write_text(json.dumps({"query": {"match": {"title": "{{query}}"}}}))
    with open_elastic(f"{loaded}?template={path}") as index:
        assert all("heat" in each.title for each in index.search("heat", 5).shown)


def test_the_command_loads_a_set_and_refuses_to_do_so_twice(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "index-elasticsearch", "--dataset", str(need.data("adi")), "--target", node.index("adi"), "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 82
    assert run(words) == 1
    assert "there is an index adi" in capsys.readouterr().err


def test_a_wrong_name_lists_the_real_indices(node: Node, loaded: str) -> None:
    with (
        open_elastic(node.index("cranfeld")) as index,
        pytest.raises(CollectionNotFound, match=r"there are .*cranfield"),
    ):
        index.search("x", 5)


def test_a_wrong_field_and_a_wrong_body_are_told(loaded: str, tmp_path: Path) -> None:
    with (
        open_elastic(f"{loaded}?fields=headline") as index,
        pytest.raises(InvalidRequest, match="text fields: text, title"),
    ):
        index.search("x", 5)
    path = tmp_path / "search.json"
    path.write_text('{"query": {"matches": {"text": "{{query}}"}}}')
    with open_elastic(f"{loaded}?template={path}") as index, pytest.raises(InvalidRequest, match="matches"):
        index.search("x", 5)


def test_loading_over_an_index_is_refused(loaded: str, cranfield: Dataset) -> None:
    with open_elastic(loaded) as index, pytest.raises(Conflict, match="already"):
        index.load(cranfield.documents())


def test_a_killed_node_is_named(node: Node, loaded: str) -> None:
    """The last of this file, for the node is gone then."""
    with open_elastic(loaded) as index:
        index.search("before", 5)
        node.process.kill()
        with pytest.raises(Unavailable, match=f"no answer from Elasticsearch at {node.url}"):
            index.search("after", 5)
