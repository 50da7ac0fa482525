"""What the forecast is told of rows: the longest, the share that is trained, what they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.models.rows import RowFacts, facts_of_rows
from engine.worker import fitting


def row(ids: list[int], trained: int) -> dict[str, Any]:
    kept = len(ids) - trained
    return {"input_ids": ids, "labels": [-100] * kept + ids[kept:]}


def test_of_encoded_rows() -> None:
    rows = [row([1, 2, 3, 4, 5, 6], 2), row([1, 2, 3, 9], 1), row([1, 2, 3, 8, 8], 2)]
    # The third token of the second row already predicts a trained one.
    assert facts_of_rows(rows, 6) == RowFacts(6, trained=5 / 15, shared=2)
    # What is trained is never laid down once.
    assert facts_of_rows([row([1, 2, 3], 3), row([1, 2, 4], 3)], 3).shared == 0
    assert facts_of_rows([row([1, 2, 3], 1)], 3).shared == 0
    # Pairs keep the usual share.
    pairs = [{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}]
    assert facts_of_rows(pairs, 2) == RowFacts(2)


@pytest.fixture
def many_rows(tmp_path: Path) -> Path:
    rows = [{"instruction": "say", "output": "a" * (5 + n % 7)} for n in range(300)]
    rows[217]["output"] = "b" * 90
    (tmp_path / "many.json").write_text(json.dumps(rows), encoding="utf-8")
    registry = {"many": {"file_name": "many.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return tmp_path


def test_the_longest_row_of_a_set_is_found(many_rows: Path, model_folder: Path) -> None:
    flat = {
        "model_name_or_path": str(model_folder),
        "dataset": "many",
        "dataset_dir": str(many_rows),
        "do_train": True,
        "cutoff_len": 512,
    }
    config = read_flat(flat).config
    facts = fitting.row_facts(config)
    assert facts is not None and facts.known
    from engine.datasets import Encoder, prepare

    prepared = prepare(config, Encoder(model_folder, config))
    assert facts.longest == prepared.longest > 90
    assert facts.shared > 5  # the opening of the template and the question
    cut = read_flat({**flat, "cutoff_len": 64}).config
    assert fitting.row_facts(cut).longest == 64  # type: ignore[union-attr]
    assert fitting.rows_key(cut) != fitting.rows_key(config)


def test_nothing_is_known_without_a_set_and_packed_texts_fill_the_cutoff(
    many_rows: Path, model_folder: Path
) -> None:
    flat = {"model_name_or_path": str(model_folder), "dataset_dir": str(many_rows)}
    assert fitting.row_facts(read_flat(flat).config) is None
    packed = {**flat, "dataset": "many", "stage": "pt", "cutoff_len": 128}
    facts = fitting.row_facts(read_flat(packed).config)
    assert facts is not None and facts.filled > 0.9
    assert (facts.longest, facts.trained, facts.shared) == (128, 1.0, 0)
