"""The generated collections of the benches: drawn from a seed, any block alone, with every share known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.bench.corpus import SHARES, SIZES, Clustered, Corpus, Facts
from eval.bench.filters_bench import CASES, exact, regions_of
from eval.bench.texts import Pieces, Texts, coined, read_pieces
from retrieval.analysis import analyse
from retrieval.errors import InvalidRequest
from retrieval.filters import Scope

PIECES = Pieces(
    tuple(f"the {first} of the {second}," for first in ("river", "stone", "bridge") for second in ("town", "north")),
    ("数据库集合，", "文档版本。", "搜索服务，"),
    tuple(f"word{number}" for number in range(300)),
)


def corpus(documents: int = 500, seed: int = 3) -> Corpus:
    return Corpus(Texts(PIECES, seed), Clustered(16, seed), documents)


def test_equal_seeds_draw_equal_blocks_in_any_order() -> None:
    texts, again = Texts(PIECES, 3), Texts(PIECES, 3)
    chinese = np.arange(50) % 10 == 3
    first, second = texts.block(0, chinese), texts.block(1, chinese)
    assert again.block(1, chinese) == second
    assert again.block(0, chinese) == first
    assert first != second
    assert Texts(PIECES, 4).block(0, chinese) != first


def test_a_block_of_documents_is_the_same_when_it_is_had_alone() -> None:
    one, two = corpus().block(0), corpus().block(0)
    assert one.documents == two.documents
    assert one.chunks == two.chunks
    assert np.array_equal(one.vectors, two.vectors)


def test_chunks_cover_the_passages_and_each_has_a_unit_vector() -> None:
    part = corpus(20).block(0)
    assert [len(chunks) for chunks in part.chunks] == [SIZES[number % len(SIZES)] for number in range(20)]
    for document, chunks in zip(part.documents, part.chunks, strict=True):
        assert [document.text[chunk.start : chunk.end] for chunk in chunks] == document.text.split("\n")
    assert np.allclose(np.linalg.norm(part.vectors, axis=1), 1, atol=1e-5)
    assert len(part.vectors) == sum(map(len, part.chunks)) == corpus(20).passages


def test_documents_are_made_for_at_least_so_many_passages() -> None:
    for passages in (1, 32, 33, 1000, 100_000):
        documents = Corpus.documents_for(passages)
        assert passages <= corpus(documents).passages < passages + sum(SIZES)


def test_every_share_is_exact_among_ten_thousand_documents() -> None:
    for first in (0, 30_000):
        facts = Facts.of(np.arange(first, first + 10_000))
        assert sorted(facts.share.tolist()) == sorted(facts.rights.tolist()) == list(range(10_000))
        assert facts.chinese.sum() == 1000
        assert facts.admitted(frozenset({"public"})).sum() == 5000
        assert facts.admitted(frozenset({"public", "group:board"})).sum() == 5010


def test_documents_are_what_their_facts_say() -> None:
    part = corpus().block(0)
    facts = Facts.of(np.arange(500))
    admitted = facts.admitted(frozenset({"public", "group:team"}))
    for number, document in enumerate(part.documents):
        assert document.metadata["share"] == facts.share[number]
        assert (document.metadata["lang"] == "zh") == facts.chinese[number]
        tags = document.metadata["tags"]
        assert isinstance(tags, tuple)
        assert set(tags) == {"all", *(tag for tag, count in SHARES.items() if facts.share[number] < count)}
        assert Scope(None, frozenset({"public", "group:team"})).admits({}, document.acl) == admitted[number]


def test_a_region_goes_with_the_vectors_of_its_documents() -> None:
    many = corpus(2000)
    part, regions = many.block(0), np.argmax(many.passage_vectors(0)[0] @ many.anchors.T, axis=1)
    own = np.repeat([int(str(document.metadata["region"])[1:]) for document in part.documents], many.sizes(0))
    assert np.mean(own == regions) > 0.9
    assert len(set(own.tolist())) > 10


def test_exact_neighbours_are_those_of_a_plain_scan() -> None:
    many = corpus(400)
    queries = many.queries(5)
    truth = exact(many, queries)
    part, ranked = many.block(0), regions_of(many, queries).tolist()
    owners = [
        (document, chunk) for document, chunks in zip(part.documents, part.chunks, strict=True) for chunk in chunks
    ]
    for case, ids, selectivity in zip(CASES, truth.ids, truth.selectivity, strict=True):
        shares = []
        for query, vector in enumerate(queries):
            scope = case.scope(ranked[query])
            scores = {
                f"{document.document_id}#{chunk.ordinal}": float(score)
                for (document, chunk), score in zip(owners, part.vectors @ vector, strict=True)
                if scope.admits(document.metadata, document.acl)
            }
            assert ids[query] == sorted(scores, key=lambda name: -scores[name])[:10], case.name
            shares.append(len(scores) / len(owners))
        assert selectivity == pytest.approx(np.mean(shares))


def test_coined_words_differ_and_stay_whole_in_the_analysis() -> None:
    words = [coined("zq", number) for number in range(0, 200_000, 997)]
    assert len(set(words)) == len(words)
    for word in words:
        assert analyse(word) == [word]


def test_pieces_survive_being_kept(tmp_path: Path) -> None:
    PIECES.save(tmp_path / "pieces.json")
    assert Pieces.load(tmp_path / "pieces.json") == PIECES


def test_queries_are_of_a_frequent_a_middling_and_a_rare_word() -> None:
    for query in Texts(PIECES, 3).queries(1, 40):
        ranks = [PIECES.words.index(word) for word in query.split()]
        assert ranks[0] < ranks[1] < ranks[2]


def test_a_folder_without_the_data_sets_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="RIDDLE_DATA"):
        read_pieces(tmp_path)
