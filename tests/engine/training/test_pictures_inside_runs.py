"""A run on pictures that lie inside a parquet file is the run on the same pictures as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.events import LogLine, StepLogged
from engine.training import run_training
from tests.engine.training.media_runs import media_config


@pytest.mark.slow
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
        config = media_config(vision_folder("qwen2_vl"), folder, "colours")
        session, listener = make_session(tmp_path / f"run{number}")
        run_training(config, session)
        losses.append([event.loss for event in listener.of(StepLogged)])
        told = [line.text for line in listener.of(LogLine) if "Tokens come from" in line.text]
        assert bool(told) == (number == 2)  # the second run over the same set
    assert len(losses[0]) == 3
    assert losses[0] == losses[1] == losses[2]
