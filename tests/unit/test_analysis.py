"""What becomes of names, numbers, Chinese and full-width forms on their way to index terms."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.analysis import Analysis, AnalysisSettings, analyse, default_analysis, language_of
from retrieval.analysis_tokens import MAX_TERM, folded
from retrieval.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running queries", ["run", "queri"]),
        ("max_length", ["maxlength", "max", "length"]),
        ("maxLength", ["maxlength", "max", "length"]),
        ("max-length", ["maxlength", "max", "length"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("URLs", ["url"]),
        ("os.path", ["os.path", "os", "path"]),
        ("__init__", ["__init__", "init"]),
        ("kubectl get -o", ["kubectl", "get", "-o", "o"]),
        ("--force", ["--forc", "forc"]),
        ("3.14", ["3.14"]),
        ("Django 3.2.1", ["django", "3.2.1", "3.2"]),
        ("1,000", ["1000"]),
        ("C++ and C#", ["c++", "and", "c#"]),
        ("don’t", ["don't"]),
        ("naïve café", ["naiv", "cafe"]),
        ("", []),
        ("…!?", []),
    ],
)
def test_names_are_given_whole_and_in_parts(text: str, terms: list[str]) -> None:
    assert analyse(text) == terms


def test_chinese_gives_words_and_the_bigrams_beside_them() -> None:
    assert analyse("劳动合同法") == ["劳动", "合同法", "劳动", "动合", "合同", "同法"]


def test_mixed_text_gives_the_terms_of_both_languages() -> None:
    terms = analyse("用Python连接数据库max_connections参数")
    assert {"python", "数据库", "maxconnect", "max", "connect", "参数"} <= set(terms)


def test_a_flag_is_found_however_it_is_written_and_a_dash_between_words_is_none() -> None:
    assert "--dry-run" in analyse("use --dry-run=client")
    assert "-o" in analyse("(-o yaml)")
    assert not any(term.startswith("-") for term in analyse("well-known 3-4 a - b"))


@given(st.text(alphabet="ABCxyz019.,-_ #+%", max_size=40))
def test_full_width_forms_give_the_terms_of_ordinary_ones(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else "\u3000" for c in text)
    assert analyse(wide) == analyse(text)


@given(st.text(max_size=200))
def test_terms_hold_no_white_space_and_are_never_empty_or_too_long(text: str) -> None:
    for term in analyse(text):
        assert term
        assert not any(character.isspace() for character in term)
        assert len(term) <= MAX_TERM


@given(st.lists(st.sampled_from(["max_length", "数据库", "os.path", "Running", "-o", "3.2.1"]), max_size=8))
def test_words_apart_give_the_same_terms_as_words_alone(words: list[str]) -> None:
    assert analyse(" ".join(words)) == [term for word in words for term in analyse(word)]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("how to install", "en"),
        ("怎么安装", "zh"),
        ("怎么安装 Django", "zh"),
        ("what does the word 你好 mean in this context", "en"),
        ("", "en"),
        ("123 …", "en"),
        ("名", "zh"),
    ],
)
def test_the_language_is_chinese_from_three_tenths_of_han_letters(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("traditional", "simplified"), [("資料庫", "资料库"), ("勞動合同法", "劳动合同法"), ("後臺", "后台")]
)
def test_traditional_characters_give_the_terms_of_simplified_ones(traditional: str, simplified: str) -> None:
    assert analyse(traditional) == analyse(simplified)


@given(st.text(alphabet=st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@given(st.text(max_size=60), st.text(max_size=60))
def test_text_around_a_space_gives_the_terms_of_both_sides(one: str, other: str) -> None:
    assert analyse(f"{one} {other}") == analyse(one) + analyse(other)


def test_words_of_the_dictionary_are_terms_beside_their_parts() -> None:
    analysis = Analysis(AnalysisSettings(words=(".NET", "S/4HANA", "Visual Studio", "阿里云ECS", "数据湖仓")))
    assert analysis("s/4hana on .NET") == ["s/4hana", "s", "4hana", "on", ".net", "net"]
    assert analysis("Visual Studio code") == ["visualstudio", "visual", "studio", "code"]
    assert "阿里云ec" in analysis("购买阿里云ECS服务器")
    assert analysis("建设数据湖仓")[1] == "数据湖仓"
    assert analysis("internet visualstudios") == analyse("internet visualstudios")


@given(st.text(alphabet="abAB .-_'", max_size=30))
def test_a_dictionary_adds_terms_and_takes_none_away(text: str) -> None:
    analysis = Analysis(AnalysisSettings(words=("a.b", "ab ba")))
    assert not Counter(analyse(text)) - Counter(analysis(text))


def test_settings_are_in_the_version_and_synonyms_leave_the_index_as_it_is() -> None:
    plain = default_analysis()
    words = Analysis(AnalysisSettings(words=(".NET",)))
    synonyms = Analysis(AnalysisSettings(synonyms=(("k8s", "kubernetes"),)))
    assert len({plain.version, words.version, synonyms.version}) == 3
    assert synonyms.index_version == plain.index_version == plain.version
    assert words.index_version != plain.index_version
    assert Analysis(AnalysisSettings(words=(".net", ".NET"))).version == words.version


def test_a_word_without_letters_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is no word"):
        AnalysisSettings(synonyms=(("C", "++"),))


@given(st.text(alphabet="ab的劳动合同 .x", max_size=20), st.integers(0, 19), st.integers(1, 8))
def test_the_pieces_of_a_stretch_between_spaces_stand_in_the_whole(text: str, start: int, length: int) -> None:
    """Cut at spaces, so that no word is cut in two: then each piece stands side by side in the terms of the text."""
    words = text.split()
    stretch = " ".join(words[start % (len(words) + 1) :][:length])
    whole = analyse(text)
    for piece in default_analysis().pieces(stretch):
        assert any(tuple(whole[place : place + len(piece)]) == piece for place in range(len(whole)))
