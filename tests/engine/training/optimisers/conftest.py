"""A short run whose trainer can be looked at afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.training import run_training


@pytest.fixture
def watched(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Any, Any]]:
    """Run with these changes; returns the trainer as it ended, and what it said."""
    from engine.training import run_trainer

    kept: list[Any] = []
    original = run_trainer.RunTrainer.create_optimizer

    def keeping(trainer: Any, model: Any = None) -> Any:
        kept.append(trainer)
        return original(trainer, model)

    monkeypatch.setattr(run_trainer.RunTrainer, "create_optimizer", keeping)

    def run(**changes: Any) -> tuple[Any, Any]:
        settings = {
            "finetuning_type": "full",
            "learning_rate": 1e-3,
            "max_steps": 2,
            "save_strategy": "no",
            "lora_dropout": 0.0,
            "gradient_accumulation_steps": 1,
            **changes,
        }
        session, listener = make_session(tmp_path / f"run{len(kept)}")
        run_training(make_config(**settings), session)
        return kept[-1], listener

    return run
