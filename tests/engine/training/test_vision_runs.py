"""Vision-language models train on rows with pictures, see them, stop, resume and answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.events import LogLine, StepLogged
from engine.problem import BadInput, Stopped
from engine.training import run_training
from engine.training.stop import Gate

CORPORA = Path(__file__).parents[4] / "shared" / "corpora"
FAMILIES = ("llava", "qwen2_vl")
MORE = tuple(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma3", "smolvlm"))


@pytest.fixture
def describe(vision_folder: Callable[[str], Path], picture_set: Path) -> Callable[..., Any]:
    def made(family: str, **changes: Any) -> Any:
        flat = {
            "model_name_or_path": str(vision_folder(family)),
            "dataset": "better" if changes.get("stage") == "dpo" else "colours",
            "dataset_dir": str(picture_set),
            "stage": "sft",
            "do_train": True,
            "per_device_train_batch_size": 2,
            "max_steps": 3,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_steps": 100,
            "cutoff_len": 512,
            "use_cpu": True,
            "bf16": False,
            "memory_reserve_gb": 0,
            **changes,
        }
        return read_flat(flat, "test").config

    return made


def answer(config: Any, folder: Path, asked: str, *pictures: str) -> str:
    """What the trained model says, greedily."""
    from engine.chat import Chatter
    from engine.runs.session import JobSession
    from engine.worker import ChatMessage

    whole = (folder / "config.json").is_file()
    settings = replace(
        config,
        do_train=False,
        model_name_or_path=str(folder) if whole else config.model_name_or_path,
        adapter_name_or_path=None if whole else str(folder),
        finetuning_type="lora",
        do_sample=False,
        max_new_tokens=12,
    )
    session = JobSession("test", None, lambda _: None)
    chatter = Chatter(settings, session)
    turns = [ChatMessage("user", asked, tuple(pictures))]
    return chatter.answer(turns, None, settings, lambda _: None)["text"]


@pytest.mark.parametrize("stage", ["sft", "dpo"])
@pytest.mark.parametrize("method", ["lora", "full", "freeze"])
@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_every_method_trains_saves_and_is_loaded_again(
    family: str, method: str, stage: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(family, stage=stage, finetuning_type=method, freeze_trainable_layers=1)
    session, listener = make_session(tmp_path / "run")
    result = run_training(config, session)
    assert result["steps"] == 3
    assert len(listener.of(StepLogged)) == 3
    assert (tmp_path / "run" / "processor_config.json").is_file()
    said = answer(config, tmp_path / "run", "<image>Which colour?", "red.png")
    assert isinstance(said, str)


@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_a_model_learns_what_is_in_a_picture(
    family: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    # Only the picture tells the rows apart: their text is the same.
    config = describe(
        family,
        finetuning_type="full",
        max_steps=90,
        freeze_vision_tower=False,
        freeze_multi_modal_projector=False,
        learning_rate=3e-3,
        per_device_train_batch_size=5,
        logging_steps=30,
    )
    base = Path(config.model_name_or_path)
    before = {name: answer(config, base, "<image>Which colour?", f"{name}.png")
              for name in ("red", "green", "blue")}  # fmt: skip
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    after = {name: answer(config, tmp_path / "run", "<image>Which colour?", f"{name}.png")
             for name in ("red", "green", "blue")}  # fmt: skip
    assert listener.of(StepLogged)[-1].loss < 0.1
    assert after == {"red": "red", "green": "green", "blue": "blue"}
    assert after != before
