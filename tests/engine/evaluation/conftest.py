"""A tiny random Llama with a byte-level ChatML tokenizer, and small sets of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small = [
        {"instruction": f"say {word} {i}", "output": f"{word} " * (1 + i % 4)}
        for i, word in enumerate(["red", "green", "blue", "sun", "moon", "rain", "day"])
    ]
    other = [
        {
            "instruction": "And now?",
            "output": "Then it ends.",
            "history": [["Where does it begin?", "Here, at once."]],
            "system": "You tell stories.",
        },
        {"instruction": "你是谁？", "output": "我是助手。"},
        {"instruction": "x" * 400, "output": "too long for the context"},
    ]
    sets = {"small": small, "other": other}
    for name, rows in sets.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    info = {
        name: {
            "file_name": f"{name}.json",
            "columns": {
                "prompt": "instruction",
                "response": "output",
                "history": "history",
                "system": "system",
            },
        }
        for name in sets
    }
    (folder / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    return folder


@pytest.fixture
def make_config(model_folder: Path, data_folder: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        from engine.config import read_flat

        flat = {
            "model_name_or_path": str(model_folder),
            "finetuning_type": "lora",
            "dataset_dir": str(data_folder),
            "eval_dataset": "small",
            "use_cpu": True,
            "infer_dtype": "float32",
            "do_sample": False,
            "max_new_tokens": 16,
            "per_device_eval_batch_size": 3,
            "cutoff_len": 256,
            **changes,
        }
        return read_flat(flat, "test").config

    return make


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "finetui-cache"))
    return tmp_path / "finetui-cache"
