"""Streamed rows: those that would be prepared, in an order of the seed, bad ones stood in for."""

from __future__ import annotations

from typing import Any

import pytest

from engine.datasets import Encoder, prepare
from engine.datasets.packing import unpacked
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


@pytest.fixture
def stream_of(model_folders: Any, make_config: Any, make_set: Any) -> Any:
    """The rows of a streamed run alone."""

    def make(rows: Any, **changes: Any) -> Any:
        folder = str(make_set(rows))
        config = make_config(
            dataset="mine", dataset_dir=folder, streaming=True, max_steps=500, **changes
        )
        return prepare(config, Encoder(model_folders["chatml"], config)).train

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


PACKED: dict[str, dict[str, Any]] = {
    "sft": {"packing": True},
    "pt": {"stage": "pt"},
}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize(("buffer", "window"), [(7, 3), (64, 64), (8, 100), (1, 1)])
def test_a_pass_over_packed_rows_loses_alters_and_repeats_none(
    both: Any, stream_of: Any, name: str, buffer: int, window: int
) -> None:
    rows = [{"instruction": f"Say {i}", "output": "so " * (i % 5) + f"{i}."} for i in range(30)]
    rows.insert(11, {"instruction": "x", "output": None})
    options = {**PACKED[name], "cutoff_len": 64, "preprocessing_batch_size": window}
    _, plain = both(rows, **options)
    train = stream_of(rows, **options, buffer_size=buffer)
    heard: list[str] = []
    train.tell = heard.append

    def parts(found: Any) -> list[Any]:
        """Conversations, or in pre-training tokens, as they are cut elsewhere in each window."""
        if name == "sft":
            return [(p["input_ids"], p["labels"]) for row in found for p in unpacked(row)]
        return [token for row in found for token in row["input_ids"]]

    wanted = parts(plain.train)
    taken: list[Any] = []
    place = 0
    while len(taken) < 2 * len(wanted):  # two passes, each over all rows
        taken += parts([train[place]])
        place += 1
    first, second = taken[: len(wanted)], taken[len(wanted) :]
    assert sorted(first) == sorted(second) == sorted(wanted)
    if buffer > 1:
        assert first != second
    assert all(len(train[at]["input_ids"]) <= 64 for at in range(place))
    assert train.dropped == {"mine": 1}
    assert sum("row 12" in text for text in heard) == 1
    assert [train[at] for at in (0, place - 1, 3)] == [train[at] for at in (0, place - 1, 3)]


def test_packed_rows_stop_at_a_bad_one_where_that_is_wished(stream_of: Any) -> None:
    rows = [*GOOD[:2], {"instruction": "x", "output": None}]
    with pytest.raises(BadInput, match="bad_rows is stop"):
        stream_of(rows, packing=True, bad_rows="stop")[0]


def test_packed_rows_of_which_none_is_usable_are_told(stream_of: Any) -> None:
    rows = stream_of([{"instruction": "x", "output": None}] * 3, packing=True)
    with pytest.raises(BadInput, match="No row of the sets is left"):
        rows[0]
