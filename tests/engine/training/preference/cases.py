"""The methods that dpo is tried with, and what two runs are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.events import StepLogged

METHODS = {
    "lora": {"finetuning_type": "lora"},
    "full": {"finetuning_type": "full", "learning_rate": 1e-3},
    "freeze": {"finetuning_type": "freeze", "freeze_trainable_layers": 1, "learning_rate": 1e-3},
}


def weights(folder: Path) -> dict[str, bytes]:
    from safetensors import safe_open

    (file,) = folder.glob("*model.safetensors")
    with safe_open(file, "pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    return {key: tensor.view(torch.uint8).numpy().tobytes() for key, tensor in tensors.items()}


def lines(listener: Any) -> dict[int, tuple]:
    return {
        e.step: (e.loss, e.grad_norm, e.learning_rate, e.tokens, tuple(sorted(e.watched.items())))
        for e in listener.of(StepLogged)
    }
