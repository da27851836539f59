"""Which language a query is taken to be in, and which models read it."""

from __future__ import annotations

import pytest

from retrieval.languages import language_of, reads


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("12345", "en"),
        ("how do I install it", "en"),
        ("¿Cómo lo instalo?", "en"),
        ("怎么安装", "zh"),
        ("如何安裝套件", "zh"),
        ("DataLoader num_workers 怎么设置", "zh"),
        ("pytorch 安装", "zh"),
        ("如何 install pytorch", "zh"),
        ("what does the word 安装 mean in this text", "en"),
        ("α-synuclein aggregation", "en"),
    ],
)
def test_chinese_is_told_by_its_share_of_words(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "english", "chinese", "own"),
    [
        ("how do I install it", True, False, "en"),
        ("Wie installiere ich es?", True, False, "en"),  # Latin letters do not tell
        ("α-synuclein aggregation, TNF-α and 10 µm", True, False, "en"),
        ("怎么安装 pytorch", False, True, "zh"),
        ("京都の天気", False, False, "ja"),
        ("パッケージをインストールする方法", False, False, "ja"),
        ("패키지 설치 방법", False, False, "ko"),
        ("как установить пакет pytorch", False, False, "ru"),
        ("πώς να εγκαταστήσω", False, False, "el"),
        ("كيف أثبت الحزمة", False, False, "ar"),
        ("วิธีติดตั้ง", False, False, "th"),
    ],
)
def test_models_read_the_scripts_of_their_languages(text: str, english: bool, chinese: bool, own: str) -> None:
    assert (reads(["en"], text), reads(["zh"], text)) == (english, chinese)
    assert reads([own], text)
    assert reads(["*"], text)
