"""A Riddle as evaluation asks it: over HTTP and in this process, stage by stage, with its answers and failures."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from retrieval.batch import write_generation
from retrieval.errors import CollectionNotFound, GenerationFailed, InvalidRequest, Unavailable
from retrieval.store import CollectionStore
from services.bootstrap import collections_folder
from services.settings import load
from services.targets.riddle import Asking, Loop, local_target, remote_target
from tests.fake_models import FakeEncoder
from tests.fakes import DOCUMENTS
from tests.live import free_port
from tests.parts import part
from tests.service.conftest import Live

ASKING = Asking("docs", depth=2, passages=3)


def test_a_server_is_asked_for_every_stage(live: Live) -> None:
    with remote_target(live.server.url, "", ASKING) as target:
        found = target.search("start the server", 10)
        assert target.describe()["generation"] == "docs@1"
    assert found.rankings["final"][0][0] == "guide/install.md"
    assert {"lexical", "fused", "rerank"} <= set(found.rankings)
    assert len({document for document, _ in found.rankings["final"]}) == len(found.rankings["final"])
    assert found.shown[0].text in DOCUMENTS[0].text
    assert {each.stages["rerank"][0] for each in found.shown if "rerank" in each.stages} == {1, 2}
    assert (found.generation, found.cache) == ("docs@1", "miss")
    assert found.timings_ms["client"] > 0


def test_an_answer_brings_its_citations_with_the_words_that_they_rest_on(live: Live) -> None:
    with remote_target(live.server.url, "", ASKING) as target:
        found = target.answer("How do I install the package?")
    assert found.answer == "Install it with pip."
    assert not found.abstained
    cited = found.citations[0]
    assert cited.document_id == cited.passage_id.rpartition("#")[0]
    assert cited.source_text
    assert cited.source_text in next(each.text for each in found.shown if each.passage_id == cited.passage_id)
    assert found.timings_ms["client"] >= found.timings_ms["client_first"] > 0
    assert set(found.usage) == {"prompt_tokens", "completion_tokens"}


def test_what_a_server_says_is_wrong_is_raised(live: Live) -> None:
    with remote_target(live.server.url, "", ASKING) as target:
        with pytest.raises(InvalidRequest, match="k: at most 50"):
            target.search("anything", 200)
        live.gateway.answerer.failure, live.gateway.answerer.fail_after = GenerationFailed("it broke off"), 1
        with pytest.raises(GenerationFailed, match="it broke off"):
            target.answer("How do I install the package?")
    with pytest.raises(CollectionNotFound), remote_target(live.server.url, "", Asking("nowhere", 2, 3)):
        pass
    with pytest.raises(Unavailable), remote_target(f"http://127.0.0.1:{free_port()}", "", ASKING):
        pass


def test_several_threads_may_ask_at_once(live: Live) -> None:
    with remote_target(live.server.url, "", ASKING) as target:
        found: list[str] = []
        threads = [
            threading.Thread(target=lambda: found.append(target.search("start the server", 10).generation))
            for _ in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert found == ["docs@1"] * 4


def test_a_home_folder_is_searched_in_this_process(tmp_path: Path) -> None:
    store = CollectionStore(collections_folder(tmp_path))
    write_generation(store, "docs", [part(DOCUMENTS)], encoder=FakeEncoder().spec)
    settings = load(None, {}, {"home": tmp_path}).settings
    with local_target(settings, ASKING, write=True, at_once=2, about={"kind": "here"}) as target:
        found = target.search("start the server", 10)
        answered = target.answer("How do I start the server?")
    assert found.rankings["final"][0][0] == "guide/install.md"
    assert [document for document, _ in found.rankings["final"]] == [each for each, _ in found.rankings["lexical"]]
    assert set(found.degraded) == {"dense", "rerank"}
    assert answered.engine in {"extractive", "none"}


def test_a_loop_gives_back_what_its_work_raised() -> None:
    async def fail() -> None:
        raise Unavailable("no")

    loop = Loop()
    try:
        with pytest.raises(Unavailable, match="no"):
            loop.run(fail())
    finally:
        loop.close()
