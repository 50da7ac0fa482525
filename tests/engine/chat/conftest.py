"""A tiny random Llama with a byte-level ChatML tokenizer and an adapter for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def make_config(model_folder: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        from engine.config import read_flat

        flat = {
            "model_name_or_path": str(model_folder),
            "finetuning_type": "lora",
            "use_cpu": True,
            "infer_dtype": "float32",
            "do_sample": False,
            "max_new_tokens": 40,
            **changes,
        }
        return read_flat(flat, "test").config

    return make
