"""A run on pictures that lie inside a parquet file is the run on the same pictures as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.events import LogLine, StepLogged
from engine.training import run_training


@pytest.mark.parametrize("form", ["struct", "bytes"])
def test_the_losses_are_those_of_files(
    form: str,
    vision_folder: Any,
    picture_set: Path,
    make_session: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    inside = tmp_path / "inside"
    inside.mkdir()
    rows = json.loads((picture_set / "colours.json").read_text())
    for row in rows:
        held = [(picture_set / name).read_bytes() for name in row["images"]]
        row["images"] = [{"bytes": one, "path": None} for one in held] if form == "struct" else held
    parquet.write_table(arrow.Table.from_pylist(rows), inside / "colours.parquet")
    registry = json.loads((picture_set / "dataset_info.json").read_text())
    entry = {**registry["colours"], "file_name": "colours.parquet"}
    (inside / "dataset_info.json").write_text(json.dumps({"colours": entry}))

    losses = []
    for number, folder in enumerate((picture_set, inside, inside)):
        flat = {
            "model_name_or_path": str(vision_folder("qwen2_vl")),
            "dataset": "colours",
            "dataset_dir": str(folder),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "per_device_train_batch_size": 2,
            "max_steps": 3,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_steps": 100,
            "cutoff_len": 512,
            "use_cpu": True,
            "bf16": False,
            "memory_reserve_gb": 0,
        }
        session, listener = make_session(tmp_path / f"run{number}")
        run_training(read_flat(flat, "test").config, session)
        losses.append([event.loss for event in listener.of(StepLogged)])
        told = [line.text for line in listener.of(LogLine) if "Tokens come from" in line.text]
        assert bool(told) == (number == 2)  # the second run over the same set
    assert len(losses[0]) == 3
    assert losses[0] == losses[1] == losses[2]
