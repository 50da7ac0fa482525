"""Runs over streamed rows: every stage takes them, and a resumed one goes on at the same row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.events import StepLogged
from engine.training import run_training

STREAM = {"streaming": True, "max_steps": 6, "buffer_size": 6, "save_steps": 3}
REWARD = {"reward_funcs": "regex", "reward_pattern": "[aeiou]{2}", "max_new_tokens": 4}
# Beside the two stages of test_fed_runs.py; each takes its rows in its own way.
STAGES: dict[str, dict[str, Any]] = {
    "kto": {},
    "kto alone": {"stage": "kto", "per_device_train_batch_size": 1},
    "ppo": {**REWARD, "ppo_epochs": 1},
    "grpo": {**REWARD, "num_generations": 2},
    "rloo": {**REWARD, "num_generations": 2},
    "distill": {},
    "distill on samples": {"stage": "distill", "distill_on": "samples", "max_new_tokens": 4},
}


@pytest.fixture
def train(
    tmp_path: Path, make_config: Any, make_session: Callable[..., Any], model_folder: Path
) -> Any:
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [
        {"instruction": f"say {i % 7}", "output": f"it is {i} of {i * i}", "liked": i % 3 > 0}
        for i in range(17)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    columns = {"prompt": "instruction", "response": "output"}
    info = {
        "plain": {"file_name": "rows.json", "columns": columns},
        "feedback": {"file_name": "rows.json", "columns": {**columns, "kto_tag": "liked"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))

    def run(name: str, **changes: Any) -> tuple[dict[str, Any], Any]:
        stage = changes.setdefault("stage", "sft")
        changes.setdefault("dataset", "feedback" if stage == "kto" else "plain")
        if stage == "distill":
            changes["teacher_model"] = str(model_folder)
        session, heard = make_session(tmp_path / name)
        config = make_config(dataset_dir=str(folder), cutoff_len=64, **changes)
        return run_training(config, session), heard

    return run


def from_step_three(tmp_path: Path, name: str, again: str) -> None:
    shutil.copytree(tmp_path / name, tmp_path / again)
    for folder in (tmp_path / again).glob("checkpoint-*"):
        if folder.name != "checkpoint-3":
            shutil.rmtree(folder)


def losses(heard: Any, after: int = 0) -> list[float]:
    return [event.loss for event in heard.of(StepLogged) if event.step > after]


SLOW = ("kto alone", "ppo", "grpo", "rloo", "distill", "distill on samples")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in STAGES],
)
def test_each_stage_streams_and_resumes_at_its_row(train: Any, tmp_path: Path, name: str) -> None:
    options = {"stage": name, **STAGES[name]}
    same = {**options, "disable_shuffling": True}
    streamed, heard = train("streamed", **STREAM, **same)
    plain, heard_plain = train("plain", **same, max_steps=6)
    assert losses(heard) == losses(heard_plain) and len(losses(heard)) == 6
    assert streamed["tokens"] == plain["tokens"]
    whole, heard_whole = train("whole", **STREAM, **options)
    from_step_three(tmp_path, "whole", "again")
    again, heard_again = train("again", **STREAM, **options, resume_from_checkpoint=True)
    assert losses(heard_again, 3) == losses(heard_whole, 3)
    assert again["tokens"] == whole["tokens"]


PACKED: dict[str, dict[str, Any]] = {
    "sft": {"packing": True},
    "neat": {"stage": "sft", "neat_packing": True},
    "pt": {"stage": "pt"},
}


@pytest.mark.parametrize("marks", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PACKED)
def test_packed_rows_stream_and_resume(train: Any, tmp_path: Path, name: str, marks: bool) -> None:
    options = {"stage": name, **PACKED[name], "preprocessing_batch_size": 4}
    options |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    whole, heard = train("whole", **STREAM, **options)
    from_step_three(tmp_path, "whole", "again")
    if not marks:
        (tmp_path / "again" / "stream.jsonl").unlink()
    again, heard_again = train("again", **STREAM, **options, resume_from_checkpoint=True)
    assert losses(heard_again, 3) == losses(heard, 3) and len(losses(heard)) == 6
    assert again["tokens"] == whole["tokens"]


@pytest.mark.slow
def test_one_packed_stretch_in_order_is_the_packed_set(train: Any) -> None:
    """One window over all rows, in their order: the packed run that is not streamed."""
    options = {"packing": True, "disable_shuffling": True, "per_device_train_batch_size": 2}
    plain, heard_plain = train("plain", **options, num_train_epochs=1)
    steps = plain["steps"]
    _, heard = train("streamed", **{**STREAM, **options, "buffer_size": 64, "max_steps": steps})
    assert losses(heard)[:-1] == losses(heard_plain)[:-1]
    assert steps > 1
