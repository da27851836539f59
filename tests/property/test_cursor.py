"""Whatever is done to a cursor, it is either the one that was given out or refused."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval.errors import InvalidRequest
from services.gateway.cursor import Cursor, read_cursor

CURSORS = st.builds(
    Cursor,
    generation=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}@[0-9]{1,9}", fullmatch=True),
    question=st.text(alphabet="0123456789abcdef", min_size=16, max_size=16),
    window=st.text(alphabet="0123456789abcdef", min_size=16, max_size=16),
    offset=st.integers(1, 10**6),
    read=st.none() | st.integers(0, 1000),
)


@given(CURSORS)
def test_a_cursor_reads_back_as_it_was_written_and_fits_the_requests_limit(cursor: Cursor) -> None:
    assert read_cursor(str(cursor)) == cursor
    assert len(str(cursor)) <= 512


@given(CURSORS, st.data())
def test_a_cursor_with_one_character_changed_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    text = str(cursor)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8"))
    changed = text[:at] + other + text[at + 1 :]
    assume(changed != text)
    # The last character's unused bits are the one change that base64 cannot see.
    if at == len(text) - 1:
        assume(len(text) % 4 == 0 or not other.isalnum())
    with pytest.raises(InvalidRequest, match="cursor"):
        read_cursor(changed)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        read_cursor(text)
