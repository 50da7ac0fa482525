"""Where a run of each stage starts from: good first values, and the bundled set that fits."""

from __future__ import annotations

from typing import Any

# Free sampling: a model learns from what it really says.
_FREELY: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "num_train_epochs": 1.0}
_VALUES: dict[str, dict[str, Any]] = {
    "pt": {"cutoff_len": 512},
    "sft": {},
    "rm": {"num_train_epochs": 3.0},
    "dpo": {"num_train_epochs": 3.0, "pref_beta": 0.1},
    "kto": {"num_train_epochs": 3.0, "pref_beta": 0.1},
    "ppo": {**_FREELY, "max_new_tokens": 64},
    # Two prompts an update in the form's effective batch of 8.
    "grpo": {**_FREELY, "max_new_tokens": 128, "num_generations": 4},
    "rloo": {**_FREELY, "max_new_tokens": 128, "num_generations": 4},
    "distill": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 128},
}
# Learning rates: (an adapter's, the weights' themselves).
_RATES: dict[str, tuple[float, float]] = {
    "pt": (1e-4, 5e-5),
    "rm": (1e-4, 1e-5),
    "dpo": (5e-5, 5e-6),
    "kto": (5e-5, 5e-6),
    "ppo": (1e-5, 1e-6),
    "grpo": (1e-5, 1e-6),
    "rloo": (1e-5, 1e-6),
    "distill": (1e-4, 2e-5),
}
_SETS: dict[str, str] = {
    "pt": "texts",
    "sft": "identity",
    "rm": "preference",
    "dpo": "preference",
    # The prompts that the reward model was trained on.
    "ppo": "preference",
    "kto": "feedback",
    "grpo": "instructions",
    "rloo": "instructions",
    "distill": "instructions",
}


def stage_values(stage: str, method: str = "lora") -> dict[str, Any]:
    """Good first values of a stage, before the form's own and a preset's; sft has none."""
    values = dict(_VALUES[stage])
    if stage in _RATES:
        adapter, weights = _RATES[stage]
        values["learning_rate"] = adapter if method in ("lora", "oft") else weights
    return values


def stage_dataset(stage: str) -> str:
    """The bundled set that a stage can be tried on."""
    return _SETS[stage]
