"""A run with a named template: what is said, what is trained, and what chat and export read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.datasets import Encoder
from engine.datasets.templates.package import kept_file
from engine.events import JobFailed, LogLine
from engine.models.inference import load_for_inference
from engine.problem import BadInput
from engine.training import run_training

TEMPLATE = r"""
register_template(
    name="zephyr",
    format_user=StringFormatter(slots=["<ask>{{content}}</ask>\n<say>"]),
    format_assistant=StringFormatter(slots=["{{content}}<|im_end|>\n"]),
    template_class=ReasoningTemplate,
)
register_template(
    name="solar",
    format_user=StringFormatter(slots=["Q: {{content}} A:"]),
    efficient_eos=True,
)
"""
ASKED = [{"role": "user", "content": "Say red."}]


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    kept_file().parent.mkdir(parents=True)
    kept_file().write_text(TEMPLATE)


@pytest.fixture
def settings(named: None, model_folder: Path, tmp_path: Path) -> Callable[..., Any]:
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [
        {"instruction": f"Say {word}.", "output": f"<think>\nHm.\n</think>\n\n{word}"}
        for word in ("red", "green", "blue", "sun", "moon", "star", "day", "night")
    ]
    (folder / "mine.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "mine.json"}}))

    def make(**changes: Any) -> Any:
        flat = {
            "model_name_or_path": str(model_folder),
            "dataset": "mine",
            "dataset_dir": str(folder),
            "do_train": True,
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "memory_reserve_gb": 0,
            "template": "zephyr",
            **changes,
        }
        return read_flat(flat).config

    return make


def test_the_run_says_it_and_chat_goes_on_with_it(
    settings: Callable[..., Any], tmp_path: Path, make_session: Callable[..., Any]
) -> None:
    config = settings(enable_thinking=False)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    assert not listener.of(JobFailed)
    said = " ".join(event.text for event in listener.of(LogLine))
    assert "Template zephyr is written as llamafactory 0.9.5 has it." in said
    assert "writes another text than the model's own chat template" in said
    assert "vocabulary lacks <ask>, </ask>, <say>" in said
    # The adapter's own tokenizer carries it: nobody names it again.
    chat = replace(
        config, template=None, enable_thinking=True, adapter_name_or_path=str(tmp_path / "run")
    )
    session, listener = make_session(tmp_path / "chat")
    loaded = load_for_inference(chat, session)
    asked = loaded.encoder.render_prompt(ASKED)
    assert asked == "<ask>Say red.</ask>\n<say><think>\n\n</think>\n\n"
    assert "trained without thoughts" in " ".join(e.text for e in listener.of(LogLine))


def test_an_export_carries_the_template(
    settings: Callable[..., Any], model_folder: Path, tmp_path: Path,
    make_session: Callable[..., Any],
) -> None:  # fmt: skip
    from engine.export import run_export

    config = settings(export_dir=str(tmp_path / "out"), do_train=False)
    run_export(config, make_session(tmp_path / "job")[0])
    own = tmp_path / "own"
    shutil.copytree(tmp_path / "out", own)
    encoder = Encoder(own, replace(config, template=None))
    assert encoder.render_prompt(ASKED) == "<ask>Say red.</ask>\n<say>"


def test_rule_48_is_told_before_the_model_is_loaded(
    settings: Callable[..., Any], tmp_path: Path, make_session: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def never(*given: Any, **named: Any) -> Any:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("engine.models.load_model", never)
    config = settings(template="solar", train_on_prompt=True)
    with pytest.raises(BadInput, match="train_on_prompt can't be used with template solar"):
        run_training(config, make_session(tmp_path / "run")[0])
