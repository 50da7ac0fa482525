"""A dpo run that was stopped and resumed is the unbroken one; the best checkpoint is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.events import Evaluated
from engine.training import run_training
from tests.engine.training.preference.cases import METHODS, lines, weights
from tests.engine.training.stopping import stopped_at

RESUMED = {
    "lora": METHODS["lora"] | {"lora_dropout": 0.1},
    "lora, logged every 4 steps": METHODS["lora"] | {"logging_steps": 4},
    "full": METHODS["full"],
    "freeze, kto_pair": METHODS["freeze"] | {"pref_loss": "kto_pair"},
    "orpo, NEFTune": METHODS["lora"] | {"pref_loss": "orpo", "neftune_noise_alpha": 5},
    "pure bf16": METHODS["full"] | {"bf16": None, "pure_bf16": True},
}


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("lora", 12),
        ("freeze, kto_pair", 15),
        *(
            pytest.param(name, look, marks=pytest.mark.slow)
            for name, look in [("lora", 4), *((one, 15) for one in RESUMED)]
            if name != "freeze, kto_pair"
        ),
    ],
)
def test_stop_and_resume_is_the_unbroken_run(
    name: str, look: int, run, make_dpo, make_session, tmp_path: Path
) -> None:
    """22 pairs, micro-batch 2, accumulation 2: look 4 is inside a step, 12 and 15 in epoch 2."""
    resumed_equals(RESUMED[name], look, run, make_dpo, make_session, tmp_path)


@pytest.mark.slow
def test_stop_and_resume_with_an_adapter_trained_on(
    run, make_dpo, make_session, tmp_path: Path
) -> None:
    """The reference stays the adapter's first beginning, not the checkpoint."""
    run("before", learning_rate=5e-2, max_steps=3)
    changes = METHODS["lora"] | {"adapter_name_or_path": str(tmp_path / "before")}
    resumed_equals(changes, 10, run, make_dpo, make_session, tmp_path)


def resumed_equals(
    changes: dict, look: int, run: Any, make_dpo: Any, make_session: Any, tmp_path: Path
) -> None:
    whole = run("whole", **changes)
    session, first = make_session(tmp_path / "broken")
    with stopped_at(look):
        run_training(make_dpo(**changes), session)
    second = run("broken", **changes, resume_from_checkpoint=True)
    assert lines(first) | lines(second) == lines(whole)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_best_checkpoint_by_margin(run, tmp_path: Path) -> None:
    """Early stopping and the best checkpoint follow any logged measure."""
    listener = run(
        "run",
        eval_dataset="held",
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        metric_for_best_model="rewards/margins",
        greater_is_better=True,
        load_best_model_at_end=True,
        early_stopping_steps=2,
        max_steps=8,
    )
    margins = [event.metrics["rewards/margins"] for event in listener.of(Evaluated)]
    state = json.loads((tmp_path / "run/trainer_state.json").read_text())
    assert state["best_metric"] == pytest.approx(max(margins))
    assert state["best_global_step"] == margins.index(max(margins)) + 1
    assert weights(tmp_path / "run") == weights(
        tmp_path / f"run/checkpoint-{state['best_global_step']}"
    )
