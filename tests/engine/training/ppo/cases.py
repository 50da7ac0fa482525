"""The settings that ppo is tried with, and what two runs are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from engine.events import LogLine, StepLogged

# 22 rows, micro-batch 2, accumulation 2, buffer 2: 8 answers and 2 * 2 = 4 updates a step, and
# 3 steps an epoch, the last one with 6 answers.
PPO = {
    "stage": "ppo",
    "ppo_buffer_size": 2,
    "ppo_epochs": 2,
    "reward_funcs": "length",
    "reward_length": 3,
    "max_new_tokens": 6,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "ppo_score_norm": True,
    "ppo_whiten_rewards": True,
}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"finetuning_type": "lora"},
    "full": {"finetuning_type": "full"},
    "freeze": {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
}


def losses(listener: Any) -> dict[int, tuple]:
    return {
        e.step: (e.loss, e.grad_norm, e.learning_rate, e.tokens, *sorted(e.watched.items()))
        for e in listener.of(StepLogged)
    }


def weights(run: Path) -> dict[str, bytes]:
    files = [*run.glob("*model.safetensors"), run / "value_head.safetensors"]
    assert len(files) == 2
    return {
        f"{file.name}:{key}": value.numpy().tobytes()
        for file in files
        for key, value in load_file(str(file)).items()
    }


def said(listener: Any) -> str:
    return "\n".join(e.text for e in listener.of(LogLine))
