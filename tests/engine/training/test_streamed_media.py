"""Rows with pictures are streamed too; a vision-language model's rows of text are packed apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, prepare
from engine.events import StepLogged
from engine.problem import BadInput
from engine.training import run_training
from tests.engine.training.media_runs import media_config


@pytest.fixture
def train(
    vision_folder: Callable[[str], Path], picture_set: Path, tmp_path: Path, make_session: Any
) -> Callable[..., Any]:
    def run(name: str, **changes: Any) -> tuple[dict[str, Any], list[float]]:
        session, heard = make_session(tmp_path / name)
        usual = {"max_steps": 4, "save_steps": 2}
        config = media_config(vision_folder("qwen2_vl"), picture_set, "colours", **usual | changes)
        result = run_training(config, session)
        return result, [event.loss for event in heard.of(StepLogged)]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_rows_with_pictures_are_streamed_and_resumed(
    train: Callable[..., Any], tmp_path: Path, stage: str
) -> None:
    stream = {"stage": stage, "streaming": True, "buffer_size": 3}
    plain, one = train("plain", stage=stage, disable_shuffling=True)
    streamed, other = train("streamed", **stream, disable_shuffling=True)
    assert other == one and len(one) == 4
    assert streamed["tokens"] == plain["tokens"]
    _, whole = train("whole", **stream)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoint-4")
    _, again = train("again", **stream, resume_from_checkpoint=True)
    assert again[-2:] == whole[-2:]


@pytest.fixture
def text_set(tmp_path: Path) -> str:
    folder = tmp_path / "text"
    folder.mkdir()
    rows = [{"instruction": f"say {i}", "output": "yes " * (1 + i % 4)} for i in range(8)]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text('{"text": {"file_name": "rows.json"}}')
    return str(folder)


@pytest.mark.slow
def test_packed_text_of_a_vision_model_is_kept_apart(
    train: Callable[..., Any], text_set: str
) -> None:
    """All 8 rows in one step, packed or not: the same loss."""
    same = {"dataset": "text", "dataset_dir": text_set, "max_steps": 1, "lora_dropout": 0.0}
    packed, _ = train("packed", **same, packing=True, per_device_train_batch_size=1)
    plain, _ = train("plain", **same, per_device_train_batch_size=8)
    assert packed["tokens"] == plain["tokens"]
    assert packed["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-4)
    _, streamed = train("text", **{**same, "max_steps": 3}, streaming=True)
    assert len(streamed) == 3


def test_what_of_media_cant_be_streamed_is_told(
    train: Callable[..., Any],
    picture_set: Path,
    model_folder: Path,
    make_config: Any,
    tmp_path: Path,
) -> None:
    stream = {"streaming": True, "max_steps": 4}
    with pytest.raises(BadInput, match="such rows can't be packed"):
        train("packed", **stream, packing=True)
    common = {"dataset": "colours", "dataset_dir": str(picture_set)}
    config = make_config(**common, **stream)
    rows = prepare(config, Encoder(model_folder, config)).train
    with pytest.raises(BadInput, match="reads only text"):
        rows[0]
    columns = {"prompt": "asked", "response": "said", "images": "image"}
    far = {"far": {"hf_hub_url": "org/far", "columns": columns}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(far))
    with pytest.raises(BadInput, match="kept on the disk"):
        train("far", **stream, dataset="far", dataset_dir=str(tmp_path))
