"""Where sentences end: abbreviations, decimals, quotes, lists and Chinese punctuation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith left at 3.5 p.m. yesterday. He ran.", ["Dr. Smith left at 3.5 p.m. yesterday.", "He ran."]),
        ("Use e.g. Django, i.e. the web framework. Done.", ["Use e.g. Django, i.e. the web framework.", "Done."]),
        ("See Fig. 3. Then No. 5. I said no. He left.", ["See Fig. 3.", "Then No. 5.", "I said no.", "He left."]),
        ("The U.S. Army came. It left.", ["The U.S. Army came.", "It left."]),
        ("Made in the U.S. The rest is not.", ["Made in the U.S.", "The rest is not."]),
        ("Version 3.2.1 is out. Get it.", ["Version 3.2.1 is out.", "Get it."]),
        ("Wait... what? Well... Then it ended.", ["Wait... what?", "Well...", "Then it ended."]),
        ('"Is it?" he asked. "Stop." Then he left.', ['"Is it?" he asked.', '"Stop."', "Then he left."]),
        ("(See above.) Next [1]. Known.[2] And more.", ["(See above.)", "Next [1].", "Known.[2]", "And more."]),
        ("os.path is one. os.path.join joins.", ["os.path is one.", "os.path.join joins."]),
        ("J. R. R. Tolkien wrote. Plan B. is odd.", ["J. R. R. Tolkien wrote.", "Plan B. is odd."]),
        ("Broken\nsoftly. Next", ["Broken\nsoftly.", "Next"]),
        ("No stop\n\nnew paragraph", ["No stop", "new paragraph"]),
        (
            "List:\n- one\n- two\n1. First. More\n2. Second",
            ["List:", "- one", "- two", "1. First.", "More", "2. Second"],
        ),
        ("Before\n# A heading. Whole\nText", ["Before", "# A heading. Whole", "Text"]),
        ("你好。我很好！真的？是；好", ["你好。", "我很好！", "真的？", "是；", "好"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("“好！”，他说。你呢？", ["“好！”，他说。", "你呢？"]),
        ("好的……然后呢？走。", ["好的……然后呢？", "走。"]),
        ("版本3.2已发布。Then run it. 完成。", ["版本3.2已发布。", "Then run it.", "完成。"]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


_PIECES = st.sampled_from(
    [
        "a",
        "Dr.",
        "e.g.",
        "B",
        "3.5",
        ".",
        "...",
        "。",
        "！",
        "”",
        '"',
        "\n",
        "\n\n",
        " ",
        "- x",
        "1. ",
        "# h\n",
        "好",
        "\u3000",
    ]
)


@given(st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=30).map("".join)))
def test_spans_are_in_order_and_hold_all_but_white_space(text: str) -> None:
    at = 0
    for start, end in sentences(text):
        assert at <= start < end <= len(text)
        assert not text[at:start].strip(), "only white space lies between sentences"
        assert text[start:end] == text[start:end].strip()
        at = end
    assert not text[at:].strip()
