"""Streamed rows: those that would be prepared, in an order of the seed, bad ones stood in for."""

from __future__ import annotations

from typing import Any

import pytest

from engine.datasets import Encoder, prepare
from engine.problem import BadInput

GOOD = [{"instruction": f"Say {i}", "output": f"It is {i}."} for i in range(30)]


@pytest.fixture
def both(model_folders: Any, make_config: Any, make_set: Any) -> Any:
    def make(rows: Any = GOOD, **changes: Any) -> tuple[Any, Any]:
        folder = str(make_set(rows))
        common = {"dataset": "mine", "dataset_dir": folder, **changes}
        plain = make_config(**common)
        stream = make_config(**common, streaming=True, max_steps=5, buffer_size=8)
        encoder = Encoder(model_folders["chatml"], plain)
        return prepare(stream, encoder), prepare(plain, encoder)

    return make


def test_each_row_is_the_prepared_one(both: Any) -> None:
    streamed, plain = both()
    assert len(streamed.train) == 30
    assert [streamed.train[i] for i in range(30)] == list(plain.train)
    assert streamed.counts == plain.counts
    assert streamed.train[-1] == plain.train[-1]
    with pytest.raises(IndexError):
        streamed.train[30]


def test_texts_are_streamed_too(both: Any) -> None:
    streamed, plain = both(stage="pt", packing=False, cutoff_len=20)
    assert [streamed.train[i] for i in range(30)] == list(plain.train)


def test_pairs_are_streamed_too(model_folders: Any, make_config: Any, make_set: Any) -> None:
    rows = [{"instruction": f"{i}", "chosen": "yes", "rejected": "no"} for i in range(4)]
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    folder = str(make_set(rows, ranking=True, columns=columns))
    common = {"dataset": "mine", "dataset_dir": folder, "stage": "dpo"}
    encoder = Encoder(model_folders["chatml"], make_config(**common))
    streamed = prepare(make_config(**common, streaming=True, max_steps=5), encoder)
    plain = prepare(make_config(**common), encoder)
    assert [streamed.train[i] for i in range(4)] == list(plain.train)


def test_the_order_is_of_seed_and_epoch_and_stays_near(both: Any) -> None:
    rows = both()[0].train
    first = list(rows.order(1, 0, True))
    assert sorted(first) == list(range(30))
    assert first == list(rows.order(1, 0, True))
    assert first != list(rows.order(1, 1, True)) and first != list(rows.order(2, 0, True))
    assert all(place // 8 == number // 8 for place, number in enumerate(first))
    assert list(rows.order(1, 0, False)) == list(range(30))


def test_a_bad_row_is_left_out_told_and_counted_once(both: Any) -> None:
    rows = [*GOOD[:3], {"instruction": "x", "output": None}, *GOOD[3:5]]
    streamed, _ = both(rows)
    heard: list[str] = []
    streamed.train.tell = heard.append
    assert streamed.train[3] == streamed.train[4]
    assert streamed.train[3] == streamed.train[4]
    assert streamed.train.dropped == {"mine": 1}
    assert len(heard) == 1 and "row 4" in heard[0]


def test_a_bad_row_stops_where_that_is_wished(both: Any, make_config: Any) -> None:
    rows = [*GOOD[:2], {"instruction": "x", "output": None}]
    folder_config = {"bad_rows": "stop"}
    with pytest.raises(BadInput, match="bad_rows is stop"):
        both(rows, **folder_config)[0].train[2]


def test_nothing_usable_is_told(model_folders: Any, make_config: Any, make_set: Any) -> None:
    folder = str(make_set([{"instruction": "x", "output": None}] * 3))
    config = make_config(dataset="mine", dataset_dir=folder, streaming=True, max_steps=5)
    rows = prepare(config, Encoder(model_folders["chatml"], config)).train
    with pytest.raises(BadInput, match="3 rows one behind the other"):
        rows[0]


def test_the_first_rows_are_held_out(both: Any) -> None:
    streamed, plain = both(val_size=4)
    assert len(streamed.train) == 26 and len(streamed.eval) == 4
    whole, _ = both()
    assert list(streamed.eval) == [whole.train[i] for i in range(4)]
    assert streamed.train[0] == whole.train[4]
    assert len(plain.eval) == 4


def test_more_held_out_than_there_are_is_refused(both: Any) -> None:
    with pytest.raises(BadInput, match="none is left to train on"):
        both(val_size=30)
