"""Rerankers are trained on lists: they learn what lists teach, and a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ranking.cross_encoder import open_reranker
from ranking.train.batches import LIST, Collator, Reading
from ranking.train.command import MODEL, SAID, run
from ranking.train.late_teacher import late_scored
from ranking.train.lists import Lists, part_of, read_lists, write_lists
from ranking.train.losses import Distillation, Weights
from ranking.train.own import own_lists
from ranking.train.training import ADAPTER, JOURNAL
from retrieval.errors import InvalidRequest
from retrieval.library import Collection
from retrieval.models import read_model
from services.settings import environment
from tests.fake_late import FakeLate
from tests.grounding import tiny_tokenizer
from tests.rerank_training import encoder_folder, tiny_folder, tiny_lists, tiny_plan, tiny_training


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing by a second thread, and wait for it long where others hold the core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base"))


def losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / JOURNAL).read_text(encoding="utf-8").splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


@pytest.mark.slow
def test_a_reranker_learns_the_order_of_its_lists(base: Path, tmp_path: Path) -> None:
    found = tiny_training(base, tiny_plan(60), tmp_path / "run")
    # Five passages in random order come to 0.59.
    assert found["mean"] > 0.7
    assert (tmp_path / "run" / ADAPTER).stat().st_size < 100_000


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_where_it_was(base: Path, tmp_path: Path) -> None:
    tiny_training(base, tiny_plan(12), tmp_path / "whole")
    tiny_training(base, tiny_plan(12), tmp_path / "stopped", stop_at=4)
    tiny_training(base, tiny_plan(12), tmp_path / "stopped")
    whole, stopped = losses(tmp_path / "whole"), losses(tmp_path / "stopped")
    assert whole
    assert stopped == pytest.approx(whole, rel=1e-4)


class Given(torch.nn.Module):
    """In a network's place: the logits of the rows of a batch are in it."""

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"scores": batch["logits"]}


def test_late_interaction_is_a_second_teacher_of_what_it_can_read(tmp_path: Path) -> None:
    lists = late_scored(tiny_lists(), FakeLate(4), lambda text: None)
    write_lists(tmp_path / "lists.jsonl.gz", lists)
    lists = read_lists(tmp_path / "lists.jsonl.gz")
    assert all(np.argmax(each.late) == 0 for each in lists.lists)

    tokenizer = tiny_tokenizer(tmp_path)
    collator = Collator(lists.lists, lists.texts, tokenizer, Reading(passages=5, tokens=32, batch_tokens=60), 1)
    made = collator([{LIST: 0}, {LIST: 1}])
    assert made["label"]["seconded"].tolist() == [True, True]
    assert made["label"]["taught"].tolist() == [False, True]
    late = made["label"]["late"]
    # Logits at their places in the micro-batches; ``late`` over its temperature is what would be perfect.
    flat = torch.zeros(late.numel())
    flat[made["places"].reshape(-1)] = late.reshape(-1) / 0.03
    weights = Weights(margin=0, order=0, judged=0, late=1.0, late_temperature=0.03)
    perfect = ([{"logits": flat[:4]}, {"logits": flat[4:]}], made["places"])
    assert float(Distillation(Given(), weights)(perfect, made["label"])) == pytest.approx(0, abs=1e-5)
    turned = ([{"logits": -flat}], made["places"])
    assert float(Distillation(Given(), weights)(turned, made["label"])) > 1
    without = replace(weights, late=0.0)
    assert float(Distillation(Given(), without)(turned, made["label"])) == 0


def test_lists_that_late_interaction_cannot_read_have_no_opinion_of_it() -> None:
    class English(FakeLate):
        languages = ("en",)

    some = tiny_lists(4)
    chinese = [replace(each, language="zh", list_id=f"{each.list_id} zh") for each in some.lists]
    translated = [
        replace(each, teacher_query=each.query, teacher_passages=each.passages, list_id=f"{each.list_id} too")
        for each in chinese
    ]
    found = late_scored(Lists(some.texts, [*some.lists, *chinese, *translated]), English(4), lambda text: None)
    assert [bool(each.late) for each in found.lists] == [True] * 4 + [False] * 4 + [True] * 4


def test_a_fifth_of_the_questions_is_held_apart_by_name_alone() -> None:
    held = [part_of("scifact", str(number)) == "dev" for number in range(4000)]
    assert 0.18 < sum(held) / len(held) < 0.22
    assert part_of("scifact", "7") == part_of("scifact", "7")


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_what_was_trained_is_a_folder_that_searches_use_and_that_can_be_trained_further(
    tmp_path: Path, whole: bool
) -> None:
    base, lists = encoder_folder(tmp_path / "base"), tiny_lists()
    changed: dict[str, Any] = {"lora": None} if whole else {}
    said = run(tiny_plan(16, student="bilingual", **changed), base, lists, tmp_path / "run")
    assert 0 < said["dev"]["mean"] <= 1
    assert said["pairs a second"] > 0
    files = read_model(tmp_path / "run" / MODEL)
    assert (files.kind, files.languages) == ("reranker", ("en", "zh"))
    query, texts = lists.lists[1].query, [lists.texts[name] for name in lists.lists[1].passages]
    scores = {
        name: open_reranker(files, runtime=name).score(query, texts) for name in ("auto", "sentence-transformers")
    }
    assert np.abs(scores["auto"] - scores["sentence-transformers"]).max() < 0.1 * np.ptp(scores["auto"])

    # With a rate of nearly nothing it stays what it was.
    run(tiny_plan(2, student="english", rate=1e-9, **changed), files.path, lists, tmp_path / "further")
    again = read_model(tmp_path / "further" / MODEL)
    assert again.languages == ("en",)
    same = open_reranker(again, runtime="sentence-transformers").score(query, texts)
    assert np.abs(same - scores["sentence-transformers"]).max() < 0.02 * np.ptp(same)


@pytest.mark.slow
@pytest.mark.timeout(900)  # three times the libraries are loaded, which a busy machine takes minutes for
def test_two_processes_reach_the_losses_of_one_with_twice_the_accumulation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = encoder_folder(tmp_path / "base")
    write_lists(tmp_path / "lists.jsonl.gz", tiny_lists(80))
    alone = [sys.executable, "-m", "ranking.train"]
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", alone[-1]]
    one_each = {**environment(), "OMP_NUM_THREADS": "1"}
    said: dict[str, Any] = {}
    for name, command, accumulate in (("one", alone, 4), ("two", together, 2)):
        out = tmp_path / name
        options = ["--lists", tmp_path / "lists.jsonl.gz", "--student", "bilingual", "--base", base, "--out", out]
        options += ["--steps", 6, "--accumulate", accumulate, "--lists-a-step", 2, "--rate", 5e-3, "--dropout", 0]
        options += ["--rank", 4, "--passages", 4, "--tokens", 32, "--batch-tokens", 120, "--device", "cpu"]
        subprocess.run([*command, *map(str, options)], check=True, capture_output=True, env=one_each)
        said[name] = json.loads((out / SAID).read_text(encoding="utf-8"))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(one) == [1, 2, 3, 4, 5, 6]
    assert two == pytest.approx(one, rel=1e-4)
    assert len(set(one.values())) == 6
    assert (said["one"]["processes"], said["two"]["processes"]) == (1, 2)
    assert said["two"]["dev"] == pytest.approx(said["one"]["dev"], abs=0.02)
    with capsys.disabled():
        print("\npairs a second:", ", ".join(f"{name} {each['pairs a second']}" for name, each in said.items()))


def judged(folder: Path, rows: list[tuple[str, str, int]]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    queries = [{"_id": f"q{number}", "text": f"flags of the command number{number}"} for number in range(20)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries), encoding="utf-8")
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t{grade}" for query, document, grade in rows)]
    (folder / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_own_judgements_become_lists_with_hard_negatives_of_the_own_collection(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "handbook")
    collection.upsert({"id": f"d{n}", "text": f"The command number{n} of the set has {n} flags."} for n in range(20))
    folder = judged(tmp_path / "judged", [*((f"q{n}", f"d{n}", 1) for n in range(20)), ("q0", "d1", 0)])
    lists = own_lists(folder, "train", collection.snapshot(), None, "en")
    assert len(lists.lists) == 20
    assert {each.part for each in lists.lists} == {"train", "dev"}
    for each in lists.lists:
        own = each.list_id.rpartition("/q")[2]
        good = [name for name, grade in zip(each.passages, each.grades, strict=True) if grade]
        assert [name.partition("#")[0] for name in good] == [f"handbook:d{own}"]
        assert len(each.passages) > 5
        assert f"number{own} " in lists.texts[good[0]]


def test_judgements_that_do_not_fit_are_refused_in_so_many_words(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "handbook")
    collection.upsert({"id": "d0", "text": "Something else."})
    other = judged(tmp_path / "other", [(f"q{n}", "d7", 1) for n in range(20)])
    with pytest.raises(InvalidRequest, match="lacks the relevant document d7"):
        own_lists(other, "train", collection.snapshot(), None, "en")
    with pytest.raises(InvalidRequest, match="no question"):
        own_lists(judged(tmp_path / "none", [("q0", "d0", 0)]), "train", collection.snapshot(), None, "en")
    with pytest.raises(InvalidRequest, match=r"no qrels/dev\.tsv"):
        own_lists(tmp_path / "none", "dev", collection.snapshot(), None, "en")
