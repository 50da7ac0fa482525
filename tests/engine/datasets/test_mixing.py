"""Sets joined by a strategy: which rows, how often, and the same with the same seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets import Encoder, prepare
from engine.datasets.mixing import Drawing, mixed_order, mixing_note, rows_used

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)


def test_sets_in_turn() -> None:
    assert mixed_order([2, 4], "concat", None, 0) == [0, 1, 2, 3, 4, 5]
    assert mixed_order([2, 4], "interleave_under", None, 0) == [0, 2, 1]
    assert mixed_order([2, 4], "interleave_over", None, 0) == [0, 2, 1, 3, 0, 4, 1, 5]
    assert mixed_order([2, 4], "interleave_once", None, 0) == [0, 2, 1, 3, 4, 5]


def drawn(sizes: list[int], strategy: str, shares: Any, seed: int, after: Any = None) -> Any:
    def has(size: int) -> Callable[[int], bool]:
        return lambda row: row < size

    return Drawing([has(size) for size in sizes], strategy, shares, seed, after)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    seed=st.integers(0, 5),
    shares=st.booleans(),
    strategy=st.sampled_from(["concat", "interleave_under", "interleave_over", "interleave_once"]),
    stop=st.integers(0, 60),
)
def test_drawn_as_it_goes_on_and_gone_on_it_is_the_same_order(
    sizes: list[int], seed: int, shares: bool, strategy: str, stop: int
) -> None:
    chances = [float(place % 3) for place in range(1, len(sizes) + 1)] if shares else None
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    whole = mixed_order(sizes, strategy, chances, seed)
    first = drawn(sizes, strategy, chances, seed)
    pairs = list(islice(first, stop))
    after = json.loads(json.dumps(first.state()))
    pairs += drawn(sizes, strategy, chances, seed, after)
    assert [starts[place] + row for place, row in pairs] == whole


@settings(deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 5), shares=st.booleans())
def test_strategies_keep_their_word(sizes: list[int], seed: int, shares: bool) -> None:
    chances = [1.0 + place for place in range(len(sizes))] if shares else None
    orders = {
        name: mixed_order(sizes, f"interleave_{name}", chances, seed)
        for name in ("under", "over", "once")
    }
    assert sorted(orders["once"]) == list(range(sum(sizes)))
    assert set(orders["over"]) == set(range(sum(sizes)))
    assert max(Counter(orders["under"]).values()) == 1
    used = rows_used(sizes, orders["under"])
    assert any(count == size for count, size in zip(used, sizes, strict=True))
    for order in orders.values():  # within a set rows keep their order, begun anew at its end
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        for start, size in zip(starts, sizes, strict=True):
            own = [row - start for row in order if start <= row < start + size]
            assert own == [place % size for place in range(len(own))]
    assert orders["over"] == mixed_order(sizes, "interleave_over", chances, seed)


def test_shares_are_met_and_seeds_differ() -> None:
    order = mixed_order([100_000, 100_000], "interleave_under", [0.8, 0.2], 1)
    first, second = rows_used([100_000, 100_000], order)
    assert 0.79 < first / (first + second) < 0.81
    assert order != mixed_order([100_000, 100_000], "interleave_under", [0.8, 0.2], 2)
    assert rows_used([5, 5], mixed_order([5, 5], "interleave_over", [1.0, 0.0], 0)) == [5, 0]


def test_sets_without_rows_are_left_out() -> None:
    assert mixed_order([0, 2], "interleave_under", None, 0) == [0, 1]
    assert mixed_order([], "interleave_over", None, 0) == []


def test_the_note_counts_each_set() -> None:
    note = mixing_note(["a", "b"], [2, 1000], [4, 1000], "interleave_over")
    assert note == "Rows of each set (interleave_over): a 4 (it has 2), b 1,000."


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_prepared_rows_are_mixed(
    stage: str, model_folders: Any, make_config: Any, make_set: Any
) -> None:
    import json

    folder = make_set([])
    registry = {}
    for name, count in (("few", 2), ("many", 4)):
        rows = [
            {"instruction": f"{name} {i}", "output": "yes", "chosen": "yes", "rejected": "no"}
            for i in range(count)
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))
        registry[name] = {"file_name": f"{name}.json"}
        if stage == "dpo":
            columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
            registry[name] |= {"ranking": True, "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    config = make_config(
        dataset="few,many", dataset_dir=str(folder), stage=stage, mix_strategy="interleave_over"
    )
    encoder = Encoder(model_folders["chatml"], config)
    prepared = prepare(config, encoder)
    name = "input_ids" if stage == "sft" else "prompt_ids"
    texts = [encoder.tokenizer.decode(row[name]) for row in prepared.train]
    assert ["few 0" in text for text in texts] == [True, False, False, False] * 2
    assert prepared.counts == {"few": 4, "many": 4}
    assert "Rows of each set (interleave_over): few 4 (it has 2), many 4." in prepared.notes
