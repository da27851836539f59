"""Verdicts over several passages and over answers, what is read of a long passage, and the command that asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from eval.grounding import LABELS, GroundingModel, decisive, grounded, grounded_answers, judge, open_grounder
from eval.grounding_cases import ABSENT, CONTRADICTED, SUPPORTED, Pair
from eval.grounding_marks import encoded, matched
from eval.grounding_measure import figures, measure, milliseconds
from eval.grounding_windows import estimated_tokens, windows
from eval.runs import AnswerRecord, Failure
from eval.targets import Answered, Cited, Shown
from retrieval.batching import Tokens
from retrieval.errors import InvalidRequest
from retrieval.graphs import Engine
from retrieval.lanes import Lanes
from retrieval.models import read_model
from services.cli import build_app
from tests.grounding import VOCABULARY, WordGrounder, tiny_tokenizer
from tests.requires import need

TOWER = "The tower was opened in 1793."


class MarkGraph:
    """Supported by the share of tokens that are marked; counts its calls."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def run(self, inputs: Mapping[str, Tokens]) -> NDArray[np.float32]:
        ids, mask, marks = inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"]
        self.shapes.append((ids.shape[0], ids.shape[1]))
        # Two specials before the passage, one at either end.
        share = marks.sum(1) / (mask.sum(1) - 4)
        return np.stack([share, (1 - share) / 2, (1 - share) / 2], 1).astype(np.float32)


def model(folder: Path, tokens: int = 40) -> tuple[GroundingModel, MarkGraph]:
    graph = MarkGraph()
    return GroundingModel("local:tiny", tiny_tokenizer(folder), Engine(graph, Lanes(2), 64), tokens), graph


def answered(answer: str, citations: tuple[Cited, ...] = (), abstained: bool = False) -> Answered:
    shown = (
        Shown("p1", "d1", 1.0, "The tower was opened in 1793. It is tall."),
        Shown("p2", "d2", 0.5, "The bridge was closed in Rome."),
    )
    return Answered(answer, abstained, citations, shown, {})


def test_each_statement_has_the_verdict_of_its_best_passage() -> None:
    passages = ["The bridge is old.", "The tower was opened in 1793.", "The tower was opened in 1800."]
    found = judge(WordGrounder(), [(TOWER, passages), ("The tower was closed in 1793.", passages), (TOWER, [])])
    assert [(each.label, each.passage) for each in found] == [("supported", 1), ("contradicted", 1), ("absent", -1)]
    assert found[0].supported == pytest.approx(0.8)
    assert found[2].absent == 1.0


def test_a_contradiction_counts_only_where_nothing_supports() -> None:
    rows = np.array([[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]], np.float32)
    assert decisive(rows) == 1
    assert decisive(rows[[0, 2]]) == 0
    assert decisive(rows[[2]]) == 0
    assert decisive(rows[:0]) == -1


@given(
    rows=st.lists(st.tuples(*[st.floats(0.01, 1) for _ in range(3)]), min_size=1, max_size=6), seed=st.integers(0, 9)
)
def test_the_verdict_does_not_hang_on_the_order_of_the_passages(
    rows: list[tuple[float, float, float]], seed: int
) -> None:
    given_rows = np.array(rows, np.float32)
    turned = np.random.default_rng(seed).permutation(given_rows)
    verdicts = [LABELS[int(each[decisive(each)].argmax())] for each in (given_rows, turned)]
    assert verdicts[0] == verdicts[1]


def test_an_answer_is_checked_against_what_it_cites() -> None:
    text = "The tower was opened in 1793. The bridge was closed in Rome."
    cites_wrongly = (Cited((30, 60), "p1", "d1"),)
    found = grounded(answered(text, cites_wrongly), WordGrounder())
    assert found is not None
    # The first cites nothing, so that all that was shown counts.
    assert [each.label for each in found.verdicts] == ["supported", "absent"]
    assert found.faithfulness == 0.5
    found = grounded(answered(text), WordGrounder())
    assert found is not None
    assert found.faithfulness == 1.0


def test_an_abstention_has_no_statement_to_check() -> None:
    assert grounded(answered("I do not know.", abstained=True), WordGrounder()) is None
    assert grounded(answered(""), WordGrounder()) is None


def test_of_a_run_failures_and_abstentions_are_left_out() -> None:
    records = [
        AnswerRecord("q1", answered("The tower was opened in 1793. It is tall.")),
        AnswerRecord("q2", error=Failure("unavailable", "away")),
        AnswerRecord("q3", answered("", abstained=True)),
        AnswerRecord("q4", answered("The bridge was closed in Paris.")),
    ]
    found = dict(grounded_answers(records, WordGrounder()))
    assert {name: each.faithfulness for name, each in found.items()} == {"q1": 1.0, "q4": 0.0}
    assert [each.label for each in found["q4"].verdicts] == ["contradicted"]


def test_words_that_both_have_are_marked_in_either_script() -> None:
    left, right = matched("Towers opened in 1793.", "the tower opens, 1794")
    assert left == [*[True] * 6, False, *[True] * 6, *[False] * 9]
    assert right == [*[False] * 4, *[True] * 5, False, *[True] * 5, *[False] * 6]
    left, right = matched("東京鐵塔", "铁塔在北京")
    assert left == [False, False, True, True]
    assert right == [True, True, False, False, False]


def test_marks_reach_the_tokens_that_carry_them(tmp_path: Path) -> None:
    read = encoded(tiny_tokenizer(tmp_path), "The tower opened", "the old bridge opened in rome", 40)
    assert [VOCABULARY[token] for token in read.ids] == [
        "<s>", "the", "tower", "opened", "</s>", "</s>", "the", "old", "bridge", "opened", "in", "rome", "</s>",
    ]  # fmt: skip
    assert read.types == [0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0]
    cut = encoded(tiny_tokenizer(tmp_path), "The tower opened", "the old bridge opened in rome", 9)
    assert (len(cut.ids), cut.types) == (9, [0, 1, 0, 0, 0, 1, 0, 0, 0])


def test_the_model_reads_each_pair_alone_and_keeps_their_order(tmp_path: Path) -> None:
    grounder, graph = model(tmp_path)
    pairs = [(TOWER, TOWER), (TOWER, "rome"), ("it is old", "the bridge is old")] * 5
    found = grounder.check(pairs)
    assert found.shape == (15, 3)
    assert found.sum(1) == pytest.approx(np.ones(15))
    assert (found[:3] == found[3:6]).all()
    assert found[0, 0] > found[2, 0] > found[1, 0]
    assert [rows for rows, _ in graph.shapes] == [1] * 15
    assert grounder.check([]).shape == (0, 3)


def test_of_a_long_passage_the_sentences_that_the_statement_is_about_are_read(tmp_path: Path) -> None:
    filler = "The bridge is old and tall and closed in Rome. " * 12
    passage = f"{filler}{TOWER} {filler}"
    grounder, _ = model(tmp_path, 40)
    with_it, without = grounder.check([(TOWER, passage), (TOWER, filler)])[:, 0]
    assert with_it > without
    read = windows(TOWER, passage, 40, 2)
    assert len(read) == 2
    assert TOWER in read[0]
    assert all(estimated_tokens(each) <= 40 for each in read)
    assert windows(TOWER, "Short. Passage.", 40, 2) == ["Short. Passage."]
    assert windows(TOWER, "", 40, 2) == [""]


@given(text=st.text(max_size=600), statement=st.text(max_size=60))
def test_windows_are_stretches_of_the_passage_and_never_none(text: str, statement: str) -> None:
    found = windows(statement, text, 32, 2)
    assert 1 <= len(found) <= 2
    assert all(each in text for each in found)


def test_chinese_counts_more_tokens_for_its_characters() -> None:
    assert estimated_tokens("铁塔位于巴黎。") == pytest.approx(6 / 1.5 + 1 / 4.2)
    assert estimated_tokens("tower") == pytest.approx(5 / 4.2)


def test_figures_count_by_verdict_and_by_kind() -> None:
    pairs = [
        Pair("s", "p", SUPPORTED, "en", "question", "x", "a"),
        Pair("s", "p", SUPPORTED, "en", "question", "x", "a"),
        Pair("s", "p", CONTRADICTED, "en", "number", "x", "a"),
        Pair("s", "p", ABSENT, "en", "elsewhere", "x", "a"),
    ]
    said = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.1, 0.2, 0.7], [0.6, 0, 0.4]], np.float32)
    found = figures("x", pairs, said)
    assert (found.two_way, found.against_contradicted) == (0.5, 0.75)
    assert found.recalls == (0.5, 0.0, 0.0)
    assert found.three_way == pytest.approx(1 / 6)
    assert found.by_kind == {
        "absent/elsewhere": (1, 0.0), "contradicted/number": (1, 1.0), "supported/question": (2, 0.5),
    }  # fmt: skip


def test_a_perfect_grounder_has_perfect_figures() -> None:
    pairs = [
        Pair(TOWER, TOWER, SUPPORTED, "en", "sentence", "x", "a"),
        Pair(TOWER, "The tower was opened in 1800.", CONTRADICTED, "en", "number", "x", "a"),
        Pair(TOWER, "Rome is old.", ABSENT, "en", "elsewhere", "x", "a"),
    ]
    (found,) = measure(WordGrounder(), {"x": pairs})
    assert (found.two_way, found.three_way, found.recalls) == (1.0, 1.0, (1.0, 1.0, 1.0))


def test_time_is_of_one_statement_at_a_time() -> None:
    grounder = WordGrounder()
    ticks = iter(range(1000))
    pairs = [Pair(TOWER, TOWER, SUPPORTED, "en", "sentence", "x", "a")] * 5
    assert milliseconds(grounder, pairs, clock=lambda: float(next(ticks))) == 1000.0
    assert len(grounder.asked) == 5


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "hidden_size": 8}', encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="riddle-grounding"):
        open_grounder(read_model(tmp_path))


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--statement", "s"],
        ["--passage", "p"],
        ["--statement", "s", "--passage", "p", "--file", "x.jsonl"],
        ["--run", "r", "--dataset-root", "d"],
    ],
)
def test_the_command_wants_one_thing_to_check(flags: list[str]) -> None:
    assert CliRunner().invoke(build_app(), ["eval", "ground", *flags]).exit_code == 2


def test_the_command_names_the_line_that_is_no_statement(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"statement": "s", "passage": "p"}\n{"statement": 3}\n', encoding="utf-8")
    done = CliRunner().invoke(build_app(), ["eval", "ground", "--file", str(path)])
    assert isinstance(done.exception, InvalidRequest)
    assert "line 2" in done.exception.detail


@pytest.mark.slow
def test_the_shipped_model_tells_support_from_change_and_absence(tmp_path: Path) -> None:
    need.model("riddle-grounding")
    path = tmp_path / "pairs.jsonl"
    passage = "The Louvre opened on 10 August 1793 with an exhibition of 537 paintings."
    lines = [
        {"statement": "The Louvre opened in August 1793.", "passages": [passage]},
        {"statement": "The Louvre opened in August 1850.", "passages": [passage]},
        {"statement": "Mount Fuji is 3,776 metres high.", "passages": [passage]},
        {"statement": "卢浮宫于1793年开放。", "passages": ["卢浮宫于1793年8月10日开放，展出537幅画。"]},
        {"statement": "卢浮宫于1850年开放。", "passages": ["卢浮宫于1793年8月10日开放，展出537幅画。"]},
        {"statement": "富士山高3776米。", "passages": ["卢浮宫于1793年8月10日开放，展出537幅画。"]},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    home = str(need.home("riddle-grounding"))
    done = CliRunner().invoke(build_app(), ["eval", "ground", "--file", str(path), "--home", home, "--json"])
    assert done.exit_code == 0, done.output
    said = [each["verdict"] for each in json.loads(done.output)["verdicts"]]
    assert said == ["supported", "contradicted", "absent"] * 2
