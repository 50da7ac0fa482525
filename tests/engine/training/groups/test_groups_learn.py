"""GRPO and RLOO learn: a random model raises a reward that one line of Python can check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from engine.events import Evaluated, StepLogged

LEARNING = {
    # The adapter of LoRA can't do it: this model's logits are bounded by its random embeddings.
    "finetuning_type": "full",
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "num_generations": 8,
    "max_steps": 60,
    "max_new_tokens": 8,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "save_strategy": "no",
    "val_size": 0.25,
    "eval_strategy": "steps",
    "eval_steps": 30,
    "eval_on_start": True,
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["grpo", "rloo"])
def test_a_simple_reward_nears_its_maximum(
    stage: str, tmp_path: Path, group_config: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    from engine.training import run_training

    session, seen = make_session(tmp_path / "run")
    # The share of small letters in an answer: about a tenth by chance, at most 1.
    run_training(group_config(**LEARNING, stage=stage, kl_beta=0.002), session)
    steps = seen.of(StepLogged)
    rewards = [event.watched["reward"] for event in steps]
    first, last = sum(rewards[:3]) / 3, sum(rewards[-5:]) / 5
    held = [event.metrics["reward"] for event in seen.of(Evaluated)]
    there = next((e.step for e, r in zip(steps, rewards, strict=True) if r >= 0.9), None)
    print(
        f"{stage}: reward {first:.3f} -> {last:.3f}, 0.9 at step {there}; "
        f"held out {held[0]:.3f} -> {held[-1]:.3f}; {steps[-1].elapsed:.0f} s"
    )
    assert first < 0.2
    assert last >= 0.9
    assert held[0] < 0.3 and held[-1] >= 0.9
