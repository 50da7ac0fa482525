"""Whole conversations packed together: none is lost, altered, cut or told apart wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets import Encoder, prepare
from engine.datasets.encode import Encoded
from engine.datasets.packing import filling, pack_whole, unpacked
from engine.datasets.stage_rows import TokenRows

TOKEN = st.tuples(st.integers(0, 2**31 - 1), st.booleans())
LENGTH = 24
ROWS = st.lists(st.lists(TOKEN, min_size=1, max_size=LENGTH), max_size=40)


def rows_of(rows: list[list[tuple[int, bool]]]) -> TokenRows:
    made = TokenRows()
    for row in rows:
        made.append(Encoded([token for token, _ in row], [mark for _, mark in row], 0, ""))
    return made


@settings(deadline=None, max_examples=200)
@given(rows=ROWS, batch=st.integers(1, 50))
def test_unpacking_gives_each_row_as_it_was(rows: list, batch: int) -> None:
    plain = rows_of(rows)
    packed = pack_whole(plain, LENGTH, batch)
    assert all(len(row["input_ids"]) <= LENGTH for row in packed)
    assert all(sum(row["row_lengths"]) == len(row["input_ids"]) for row in packed)
    found = [part for row in packed for part in unpacked(row)]

    def known(row: dict[str, Any]) -> tuple[Any, ...]:
        return (*row["input_ids"], *row["labels"])

    assert sorted(map(known, found)) == sorted(map(known, plain))
    # Within a packed row the conversations stand as they stood in the file.
    places = {id(row): [known(part) for part in unpacked(row)] for row in packed}
    order = [known(row) for row in plain]
    if len(set(order)) == len(order):
        for parts in places.values():
            assert parts == sorted(parts, key=order.index)
    assert packed.tokens == plain.tokens
    assert packed.trained_tokens == plain.trained_tokens
    # No two rows of one batch could lie in one.
    if batch >= len(rows):
        assert sum(size <= LENGTH // 2 for size in packed.lengths()) <= 1


def test_a_row_that_is_not_packed_is_unpacked_as_itself() -> None:
    row = {"input_ids": [1, 2], "labels": [-100, 2]}
    assert unpacked(row) == [row]


def test_filling_is_told() -> None:
    rows = rows_of([[(1, True)] * 6, [(2, True)] * 3, [(3, True)] * 4])
    packed = pack_whole(rows, 10, 1000)
    assert [row["row_lengths"] for row in packed] == [[6, 4], [3]]
    note = "packing: 65 % of 10 × 2 positions filled (3 conversations, kept apart)."
    assert filling(packed, 10) == note
    with pytest.raises(ValueError, match="at least one"):
        pack_whole(rows, 0, 1)


@pytest.mark.parametrize("name", ["packing", "neat_packing"])
def test_prepare_packs_conversations_and_says_how_full(
    name: str, model_folders: Any, make_config: Any, make_set: Any
) -> None:
    rows = [{"instruction": "Hi", "output": "Hello " * (1 + i % 5)} for i in range(20)]
    folder = make_set(rows)
    config = make_config(dataset="mine", dataset_dir=str(folder), cutoff_len=128, **{name: True})
    encoder = Encoder(model_folders["chatml"], config)
    prepared = prepare(config, encoder)
    assert prepared.counts == {"mine": 20}
    assert sum(len(row["row_lengths"]) for row in prepared.train) == 20
    assert any(note.startswith("packing: ") for note in prepared.notes)
    whole = config.__class__(**{**vars_of(config), name: False if name == "neat_packing" else None})
    plain = prepare(whole, encoder)
    found = [tuple(part["labels"]) for row in prepared.train for part in unpacked(row)]
    assert sorted(found) == sorted(tuple(row["labels"]) for row in plain.train)


def vars_of(config: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(config, field.name) for field in fields(config)}
