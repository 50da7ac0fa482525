"""Every stage by every method in both precisions: trains, is saved, is loaded again, and answers.

A tiny Llama with the demo model's own tokenizer and template (49,152 tokens), rows of the bundled
sets. `.pictures/cells.py` runs these tests and writes their results as the README's table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.events import JobFailed, StepLogged
from engine.training import run_training

STEPS = 3
DATA = Path(__file__).parents[3] / "data"
SETS = {
    "pt": "texts",
    "sft": "identity",
    "distill": "identity",
    "rm": "preference",
    "dpo": "preference",
    "kto": "feedback",
    "ppo": "identity",
    "grpo": "identity",
    "rloo": "identity",
}
OWN: dict[str, dict[str, Any]] = {
    "ppo": {
        "reward_funcs": "regex",
        "reward_pattern": "[aeiou]{2}",
        "max_new_tokens": 8,
        "ppo_epochs": 1,
    },
    "grpo": {"reward_funcs": "regex", "reward_pattern": "[aeiou]{2}", "max_new_tokens": 8},
    "rloo": {"reward_funcs": "regex", "reward_pattern": "[aeiou]{2}", "max_new_tokens": 8},
}
METHODS = ("lora", "full", "freeze")
PRECISIONS = {"fp32": {"bf16": False}, "bf16": {"bf16": False, "pure_bf16": True}}
# One cell a stage runs with every change; CI runs them all.
CELLS = [
    pytest.param(
        stage,
        method,
        name,
        id=f"{stage}-{method}-{name}",
        marks=() if (method, name) == ("lora", "fp32") else pytest.mark.slow,
    )
    for stage in SETS
    for method in METHODS
    for name in PRECISIONS
]


@pytest.mark.parametrize(("stage", "method", "precision"), CELLS)
def test_trains_saves_and_comes_back(
    stage: str,
    method: str,
    precision: str,
    reads_as_the_demo: Path,
    tmp_path: Path,
    make_session: Callable[..., Any],
) -> None:
    run = tmp_path / "run"
    config = read_flat(
        {
            "model_name_or_path": str(reads_as_the_demo),
            "stage": stage,
            "finetuning_type": method,
            "freeze_trainable_layers": 1,
            "dataset": SETS[stage],
            "dataset_dir": str(DATA),
            "max_samples": 16,
            "cutoff_len": 96,
            "max_steps": STEPS,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "teacher_model": str(reads_as_the_demo) if stage == "distill" else None,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "memory_reserve_gb": 0,
            "do_train": True,
            **PRECISIONS[precision],
            **OWN.get(stage, {}),
        },
        "cell",
    ).config
    session, listener = make_session(run)
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert [event.step for event in logged] == [1, 2, 3]
    assert all(math.isfinite(event.loss) for event in logged)
    assert not listener.of(JobFailed)
    comes_back(replace(config, do_train=False), reads_as_the_demo, run, moved=stage != "distill")


def comes_back(config: Any, base: Path, run: Path, moved: bool) -> None:
    """The saved weights differ from the start, and a fresh load of them answers (or scores).

    A student of itself has nothing to learn: its weights may stand still.
    """
    import torch

    from engine.models import attach_adapters, choose_precision, load_model, load_tokenizer
    from engine.models.score_head import scores

    precision = choose_precision(config, "cpu")
    head = "score" if config.stage == "rm" else "language"
    start = load_model(base, config, precision, "cpu", False, head)
    if config.finetuning_type == "lora":
        back: Any = attach_adapters(start, [run], precision, trainable=False)
        trained = {n: p for n, p in back.named_parameters() if "lora_B" in n}
        assert trained
        changed = any(p.abs().max() > 0 for p in trained.values())
    else:
        back = load_model(run, config, precision, "cpu", False, head)
        before = dict(start.named_parameters())
        changed = any(not torch.equal(p, before[n]) for n, p in back.named_parameters())
    assert changed or not moved
    tokenizer = load_tokenizer(base)
    inputs = tokenizer("Who are you?", return_tensors="pt")
    with torch.no_grad():
        if config.stage == "rm":
            found = scores(back, inputs["input_ids"], inputs["attention_mask"])
            assert found.shape == (1,) and torch.isfinite(found).all()
        else:
            answer = back.generate(**inputs, max_new_tokens=3, do_sample=False)
            assert answer.shape[1] > inputs["input_ids"].shape[1]
