"""Misspelt words: what is put right, what is left alone, and that nothing hidden from a caller is suggested to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.collection_words import CollectionWords, counted
from retrieval.filters import EVERYTHING, Compare, Scope
from retrieval.lexical_query import parse_query, widened
from retrieval.library import Collection
from retrieval.snapshot import Snapshot
from retrieval.spelling import corrected
from retrieval.types import Clock, Document
from retrieval.vocabulary import MOST_WORDS, Vocabulary, count_words, reach
from services.ports import RecallRequest
from services.spelling import Spelling

PUBLIC = frozenset({"public"})
DOCUMENTS = [
    Document("kidney", "Transplants of a kidney. Kidneys filter the blood; machine learning helps.", "Medicine"),
    Document("graph", "A database keeps its index. Call maxLength(4) on v2beta, or run --dry-run.", "Databases"),
    Document("café", "Le café est à Besançon, près de la rivière.", metadata={"lang": "fr"}),
    Document("secret", "Project Nightjar launches in autumn; nightjars, budget unknown.", acl=("group:board",)),
    Document("zh", "数据库保存索引。"),
]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    collection = Collection.create(tmp_path_factory.mktemp("spelling") / "docs")
    collection.upsert(DOCUMENTS)
    return collection.snapshot()


@pytest.fixture(scope="module")
def vocabulary(snapshot: Snapshot) -> Vocabulary:
    return CollectionWords().wait(snapshot)


def _put_right(query: str, snapshot: Snapshot, vocabulary: Vocabulary, scope: Scope | None = None) -> str | None:
    found = corrected(query, snapshot, lambda: vocabulary, scope or Scope(principals=PUBLIC))
    return None if found is None else found.query


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("kideny", "kidney"),  # two letters swapped
        ("kidny", "kidney"),  # one left out
        ("idney", "kidney"),  # the first left out
        ("jidney", "kidney"),  # the first replaced
        ("kiidney", "kidney"),  # one doubled
        ("transplqnts", "transplants"),
        ("trnasplanst", "transplants"),  # two slips in a long word
        ("Databsae of kidneys?", "Database of kidneys?"),  # capitals and punctuation stay
        ("Does a kideny's blodd help?", "Does a kidney's blood help?"),
        ("MACHINE LERNING", "MACHINE LEARNING"),
        ("machinelearning", "machine learning"),  # two words run together
        ("data base kidney", "database kidney"),  # one word parted
        ("besancon riviere kidny", "besancon riviere kidney"),  # accents are no slips
    ],
)
def test_a_misspelt_word_becomes_the_nearest_of_the_collection(
    typed: str, meant: str, snapshot: Snapshot, vocabulary: Vocabulary
) -> None:
    assert _put_right(typed, snapshot, vocabulary) == meant


@pytest.mark.parametrize(
    "query",
    [
        "kidney transplant",  # another form of a word that is there
        "kid",  # short
        '"kideny" blood',  # quoted
        "kid3ny blood",  # a name
        "ki_dny blood",
        "--kidny blood",
        "kidNy blood",
        "KIDNY blood",  # an abbreviation among words
        "kidn* blood",  # a prefix
        "数据苦 blood",
        "",
        "  ",
        "zymurgy blood",  # unknown, and nothing near
        "kidnez blod trnsplants databaze",  # mostly unknown: another language
    ],
)
def test_what_may_be_meant_as_it_is_stays_as_it_is(query: str, snapshot: Snapshot, vocabulary: Vocabulary) -> None:
    assert _put_right(query, snapshot, vocabulary) is None


def test_a_correction_says_which_words_it_changed(snapshot: Snapshot, vocabulary: Vocabulary) -> None:
    found = corrected("Kideny filters blodd", snapshot, lambda: vocabulary, EVERYTHING)
    assert found is not None
    assert found.words == (("Kideny", "Kidney"), ("blodd", "blood"))


def test_a_word_of_a_hidden_document_is_neither_suggested_nor_known(snapshot: Snapshot, vocabulary: Vocabulary) -> None:
    board = Scope(principals=PUBLIC | {"group:board"})
    assert "nightjar" in vocabulary.counts
    assert _put_right("nighjar blood", snapshot, vocabulary, board) == "nightjar blood"
    assert _put_right("nighjar blood", snapshot, vocabulary) is None
    assert snapshot.holds(["nightjar", "kidney"], board) == [True, True]
    assert snapshot.holds(["nightjar", "kidney"], Scope(principals=PUBLIC)) == [False, True]


def test_to_one_who_may_not_see_it_a_hidden_word_is_like_one_that_is_nowhere(tmp_path: Path) -> None:
    """Were the hidden word known, its typist would learn so: nothing would be put right."""
    answers = []
    for hidden in ([], [Document("secret", "The kidneyx deal.", acl=("group:board",))]):
        collection = Collection.create(tmp_path / f"docs{len(hidden)}")
        collection.upsert([*DOCUMENTS[:2], *hidden])
        now = collection.snapshot()
        answers.append([
            _put_right(query, now, CollectionWords().wait(now)) for query in ("kidneyx blood", "kidneyy blood")
        ])  # fmt: skip
    assert answers[0] == answers[1] == ["kidney blood", "kidney blood"]


def test_of_a_word_that_may_be_seen_a_hidden_form_is_not_shown(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "docs")
    collection.upsert([
        Document("open", "They relate the tale of a whale."),
        Document("secret", "Relations, relating: relations!", acl=("group:board",)),
    ])  # fmt: skip
    now = collection.snapshot()
    words = CollectionWords().wait(now)
    assert _put_right("realting whale", now, words, EVERYTHING) == "relating whale"
    assert _put_right("realting whale", now, words) == "relate whale"


def test_what_takes_the_place_of_a_word_passes_the_filter_too(snapshot: Snapshot, vocabulary: Vocabulary) -> None:
    french = Scope(Compare("eq", "lang", "fr"), PUBLIC)
    assert _put_right("rivere pres", snapshot, vocabulary, french) == "riviere pres"
    assert _put_right("kideny pres", snapshot, vocabulary, french) is None
    assert _put_right("kidney pres", snapshot, vocabulary, french) is None, "it is known, if not there"


def test_words_are_counted_folded_and_names_are_none() -> None:
    assert count_words(["Café cafe CAFÉ maxLength snake_case v2 x1y 数据库 co-op don't"]) == {
        "cafe": 3, "co": 1, "op": 1, "don": 1,
    }  # fmt: skip


def test_of_many_words_the_most_frequent_are_kept() -> None:
    words = {f"word{chr(97 + n // 26)}{chr(97 + n % 26)}": n + 1 for n in range(100)}
    vocabulary = Vocabulary(words, most=10)
    assert (len(vocabulary), min(vocabulary.counts.values()), MOST_WORDS) == (10, 91, 500_000)
    assert [reach("word" * n) for n in (0, 1, 2, 9)] == [0, 1, 2, 0]


def test_nearer_words_and_more_frequent_ones_are_likelier(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "docs")
    collection.upsert([Document("a", "stone " * 3 + "store " * 9 + "start"), Document("b", "stone shore")])
    now = collection.snapshot()
    words = CollectionWords().wait(now)
    assert {(near.word, near.distance) for near in words.near("stoqe")} == {("stone", 1), ("store", 1)}
    assert _put_right("stoqe shore", now, words) == "store shore"


def test_the_vocabulary_follows_changes(tmp_path: Path) -> None:
    ticks = [0.0]
    words = CollectionWords(lambda: ticks[0])
    collection = Collection.create(tmp_path / "docs")
    assert words.get(collection.snapshot()) is None, "nothing is counted yet"
    assert len(words.wait(collection.snapshot())) == 0
    collection.upsert(DOCUMENTS[:1])
    now = collection.snapshot()
    stale = words.get(now)
    assert stale is not None
    assert len(stale) == 0, "what was counted a moment ago serves on"
    ticks[0] += 60
    words.get(now)
    assert "kidney" in words.wait(now).counts
    assert counted(now.views[0]).items()
    words.close()


def test_rewordings_add_terms_and_take_none_away(snapshot: Snapshot) -> None:
    query = parse_query('kideny "machine learning"', snapshot.analysis)
    wider = widened(query, ["kidney blood"], snapshot.analysis)
    assert wider.terms == {**query.terms, "kidney": 1, "blood": 1}
    assert wider.phrases == query.phrases
    assert widened(query, (), snapshot.analysis) == replace(query)
    assert len(snapshot.lexical("kideny", 5)) == 0
    assert len(snapshot.lexical("kideny", 5, EVERYTHING, ["kidney"])) == 1


@pytest.mark.parametrize(("least", "meant"), [(0, "kidney"), (10_000, None)])
def test_a_collection_that_knows_few_words_is_left_alone(snapshot: Snapshot, least: int, meant: str | None) -> None:
    spelling = Spelling(patient=True, least=least)
    request = RecallRequest("docs", "kideny", spelling="on")
    found, left_out = spelling(request, snapshot, Scope(principals=PUBLIC), None, Clock())
    assert (None if found is None else found.query) == meant
    assert left_out == ()
    spelling.close()
