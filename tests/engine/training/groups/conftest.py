"""A run of grpo or rloo on the tiny model, with a reward that is easy to see in the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REWARD = (
    "def lower_case(completions, prompts, answers):\n"
    "    shares = [sum(c.islower() for c in text) / max(1, len(text)) for text in completions]\n"
    "    return shares\n"
)


@pytest.fixture(scope="session")
def reward_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reward") / "share.py"
    path.write_text(REWARD, encoding="utf-8")
    return path


@pytest.fixture
def group_config(make_config: Callable[..., Any], reward_file: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        flat = {
            "stage": "grpo",
            "reward_funcs": str(reward_file),
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "num_generations": 4,
            "max_new_tokens": 8,
            "max_steps": 3,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "lora_dropout": 0.0,
            **changes,
        }
        return make_config(**flat)

    return make
