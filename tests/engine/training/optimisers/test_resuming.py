"""A run stopped inside a step and resumed is the unbroken run bit for bit, whatever trains it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.optimiser_rules import updates_in_backward
from engine.events import StepLogged
from engine.training import run_training
from tests.engine.training.stopping import stopped_at

# Whole runs, each a few times: CI runs them with the longer cases.
pytestmark = pytest.mark.slow

BF16 = {"pure_bf16": True, "bf16": None}
CASES: dict[str, dict[str, Any]] = {
    "galore": {"use_galore": True, "galore_rank": 4, "galore_update_interval": 4},
    "galore-bf16": {"use_galore": True, "galore_rank": 4, **BF16},
    "galore-full": {"use_galore": True, "galore_rank": 4, "galore_proj_type": "full"},
    "galore-adafactor": {"use_galore": True, "galore_rank": 4, "optim": "adafactor", **BF16},
    "galore-layerwise": {"use_galore": True, "galore_rank": 4, "galore_layerwise": True},
    "galore_adafactor_layerwise": {"optim": "galore_adafactor_layerwise", "optim_args": "rank=4"},
    "apollo": {"use_apollo": True, "apollo_rank": 4, "apollo_update_interval": 4},
    "apollo-svd-bf16": {"use_apollo": True, "apollo_rank": 4, "apollo_proj": "svd", **BF16},
    "apollo-layerwise": {"use_apollo": True, "apollo_rank": 4, "apollo_layerwise": True},
    "badam-layer": {"use_badam": True, "badam_switch_interval": 2},
    "badam-random-bf16": {
        "use_badam": True,
        "badam_switch_interval": 2,
        "badam_switch_mode": "random",
        **BF16,
    },
    "badam-first-block": {
        "use_badam": True,
        "badam_switch_interval": 2,
        "badam_switch_mode": "random",
        "badam_start_block": 2,
    },
    "badam-ratio": {"use_badam": True, "badam_mode": "ratio"},
    "badam-ratio-scatter-bf16": {
        "use_badam": True,
        "badam_mode": "ratio",
        "badam_mask_mode": "scatter",
        **BF16,
    },
    "adam_mini": {"use_adam_mini": True},
    "adam_mini-bf16": {"use_adam_mini": True, **BF16},
    "muon": {"use_muon": True},
    "muon-bf16": {"use_muon": True, **BF16},
    "lora_plus": {"loraplus_lr_ratio": 8.0, "finetuning_type": "lora", "lora_dropout": 0.1},
    "adafactor-bf16": {"optim": "adafactor", **BF16},
    "schedule_free_adamw": {"optim": "schedule_free_adamw", "lr_scheduler_type": "constant"},
    "schedule_free_sgd": {"optim": "schedule_free_sgd", "learning_rate": 0.1},
    "lomo": {"optim": "lomo"},
    "ademamix_8bit": {"optim": "ademamix_8bit"},
    "stable_adamw-bf16": {"optim": "stable_adamw", **BF16},
    "grokadamw": {"optim": "grokadamw"},
    "adamw_torch_8bit": {"optim": "adamw_torch_8bit"},
}
# One of each kind with every change; CI runs them all.
QUICK = ("galore", "galore-layerwise", "apollo", "badam-layer", "badam-ratio", "adam_mini", "muon")
QUICK += ("lora_plus", "adafactor-bf16", "schedule_free_adamw")
LOOK = 7


def losses(listener: Any) -> dict[int, tuple]:
    return {e.step: (e.loss, e.grad_norm, e.learning_rate) for e in listener.of(StepLogged)}


def weights(run: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    (file,) = run.glob("*model.safetensors")
    return load_file(file)


@pytest.fixture
def stopped_and_whole(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> Callable[..., tuple[Any, Any]]:
    """Train with these changes unbroken, and stopped at one of the gate's looks; returns the
    losses and weights of both."""

    def run(look: int = LOOK, **changes: Any) -> tuple[Any, Any]:
        config = make_config(**changes)
        session, whole = make_session(tmp_path / "whole")
        run_training(config, session)
        session, broken = make_session(tmp_path / "broken")
        with stopped_at(look):
            run_training(config, session)
        again, broken = make_session(tmp_path / "broken", broken)
        run_training(make_config(resume_from_checkpoint=True, **changes), again)
        return (losses(whole), weights(tmp_path / "whole")), (
            losses(broken),
            weights(tmp_path / "broken"),
        )

    return run


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name in CASES
    ],
)
def test_a_stopped_run_is_the_unbroken_one(
    name: str, make_config: Callable[..., Any], stopped_and_whole: Callable[..., Any]
) -> None:
    import torch

    changes = {
        "finetuning_type": "full",
        "learning_rate": 2e-3,
        "max_steps": 7,
        "lora_dropout": 0.0,
        "warmup_steps": 2,
        "max_grad_norm": 0.5,
        **CASES[name],
    }
    if updates_in_backward(make_config(**changes, gradient_accumulation_steps=1)):
        changes["gradient_accumulation_steps"] = 1
        changes["max_steps"] = 9
    (unbroken, whole), (resumed, again) = stopped_and_whole(**changes)
    assert resumed == unbroken
    assert whole.keys() == again.keys()
    assert [key for key in whole if not torch.equal(whole[key], again[key])] == []


def test_schedule_free_stopped_inside_its_validation(
    stopped_and_whole: Callable[..., Any],
) -> None:
    """There the weights are the averaged ones; going back rounds, in the unbroken run too."""
    import torch

    (unbroken, whole), (resumed, again) = stopped_and_whole(
        look=6,
        finetuning_type="full",
        optim="schedule_free_adamw",
        lr_scheduler_type="constant",
        max_steps=5,
        val_size=4,
        per_device_eval_batch_size=2,
        eval_strategy="steps",
        eval_steps=2,
        lora_dropout=0.0,
    )
    assert resumed == unbroken
    assert [key for key in whole if not torch.equal(whole[key], again[key])] == []


def test_schedule_free_keeps_the_best_average(
    make_config: Callable[..., Any], make_session: Callable[..., Any], tmp_path: Path
) -> None:
    import torch

    session, _ = make_session(tmp_path / "run")
    result = run_training(
        make_config(
            finetuning_type="full",
            optim="schedule_free_adamw",
            lr_scheduler_type="constant",
            learning_rate=0.05,
            max_steps=6,
            val_size=4,
            eval_strategy="steps",
            eval_steps=2,
            save_steps=2,
            load_best_model_at_end=True,
            lora_dropout=0.0,
        ),
        session,
    )
    best = weights(tmp_path / "run" / f"checkpoint-{result['best_step']}")
    final = weights(tmp_path / "run")
    assert [key for key in best if not torch.equal(best[key], final[key])] == []
