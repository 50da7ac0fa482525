"""A dry run counts the steps of the rows as they are packed, which are those the run takes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.cli.dry_run import describe
from engine.cli.output import output
from engine.config import read_flat, steps_of
from engine.datasets import Encoder, prepare

ROWS = [{"instruction": f"Say {i}", "output": "yes " * (1 + i % 9)} for i in range(200)]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    folder: Path = save_llama(tmp_path_factory.mktemp("tiny"))
    return folder


@pytest.fixture
def make(tmp_path: Path, model_folder: Path) -> Any:
    (tmp_path / "mine.json").write_text(json.dumps(ROWS))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')

    def config(**changes: Any) -> Any:
        flat = {
            "model_name_or_path": str(model_folder),
            "dataset": "mine",
            "dataset_dir": str(tmp_path),
            "do_train": True,
            "cutoff_len": 256,
            "per_device_train_batch_size": 2,
            "output_dir": str(tmp_path / "run"),
        }
        return read_flat({**flat, **changes}).config

    return config


@pytest.fixture
def said_by(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a dry run prints."""

    def said(config: Any) -> str:
        stream = io.StringIO()
        monkeypatch.setattr(output(), "out", stream)
        describe(config)
        return stream.getvalue()

    return said


@pytest.mark.parametrize(
    "change", [{"packing": True}, {"stage": "pt"}, {"packing": True, "val_size": 20}, {}], ids=str
)
def test_the_steps_are_those_of_the_rows_as_they_are_trained_on(
    change: dict[str, Any], make: Any, model_folder: Path, said_by: Any
) -> None:
    config = make(**change)
    made = prepare(config, Encoder(model_folder, config), keep=False).train
    said = said_by(config)
    steps = steps_of(len(made), config)
    assert f"{steps.total:,} ({steps.per_epoch:,} an epoch" in said, said
    rows = 200 - int(config.val_size)
    assert re.search(rf"^rows +{rows}\b", said, re.M)
    if change:
        share = f"{made.tokens / (len(made) * 256):.0%}".replace("%", " %")
        assert re.search(rf"^packing +{share} of 256 × {len(made):,} positions filled", said, re.M)
        assert len(made) < rows
    else:
        assert "packing  " not in said


def test_a_stream_is_not_counted_and_its_first_rows_tell_the_packing(
    make: Any, said_by: Any
) -> None:
    said = said_by(make(streaming=True, max_steps=12, packing=True))
    assert re.search(r"^rows +streamed, 200 known", said, re.M), said
    assert re.search(r"^steps +12 \(warm-up", said, re.M), said
    assert re.search(r"^packing +the first 200 rows fill \d+ of 256 tokens by \d+ %", said, re.M)


def test_without_the_tokenizer_the_steps_are_before_packing(
    make: Any, tmp_path: Path, said_by: Any
) -> None:
    said = said_by(make(packing=True, model_name_or_path="nobody/nothing"))
    assert "the steps below are before packing" in said
    assert f"{steps_of(200, make()).total:,} (" in said
