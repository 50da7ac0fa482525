"""Packing loses, adds and moves nothing."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets.encode import Encoded
from engine.datasets.packing import pack
from engine.datasets.stage_rows import TokenRows

TOKEN = st.tuples(st.integers(0, 2**31 - 1), st.booleans())
TEXTS = st.lists(st.lists(TOKEN, min_size=1, max_size=40), max_size=20)


def rows_of(texts: list[list[tuple[int, bool]]]) -> TokenRows:
    rows = TokenRows()
    for text in texts:
        rows.append(Encoded([token for token, _ in text], [mark for _, mark in text], 0, ""))
    return rows


@settings(deadline=None, max_examples=200)
@given(texts=TEXTS, length=st.integers(1, 50))
def test_blocks_joined_are_the_rows_joined(texts: list, length: int) -> None:
    rows = rows_of(texts)
    packed = pack(rows, length)
    for column in ("input_ids", "labels"):
        whole = list(chain.from_iterable(row[column] for row in rows))
        assert list(chain.from_iterable(row[column] for row in packed)) == whole
    assert packed.tokens == rows.tokens
    assert packed.trained_tokens == rows.trained_tokens
    lengths = packed.lengths()
    assert all(found == length for found in lengths[:-1])
    assert all(0 < found <= length for found in lengths[-1:])


def test_a_long_text_goes_on_in_the_next_row_and_a_short_one_shares_it() -> None:
    texts = [[(i, True) for i in range(1, 8)], [(20, True), (21, True)], [(30, True)]]
    packed = pack(rows_of(texts), 4)
    assert [row["input_ids"] for row in packed] == [[1, 2, 3, 4], [5, 6, 7, 20], [21, 30]]


def test_nothing_packs_into_nothing_and_counts_are_kept() -> None:
    assert len(pack(TokenRows(), 8)) == 0
    rows = TokenRows()
    rows.append(Encoded([1, 2], [True, True], 3, ""))
    packed = pack(rows, 8)
    assert (packed.cut_rows, packed.cut_tokens) == (1, 3)
    with pytest.raises(ValueError, match="at least one"):
        pack(rows, 0)
