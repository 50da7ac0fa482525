"""A ppo run that was stopped goes on as if it had not, wherever in its step that was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.events import Evaluated
from engine.problem import BadInput, Stopped
from engine.runs.checkpoints import newest_complete
from engine.training import run_training
from tests.engine.training.ppo.cases import METHODS, losses, said, weights


# Step 2 with 4 answers sampled; at its beginning; with all 8, before any update; amid the updates.
@pytest.mark.parametrize(
    "stop",
    [
        pytest.param((2, 4, 0), marks=pytest.mark.slow),
        pytest.param((3, 0, 0), marks=pytest.mark.slow),
        pytest.param((2, 8, 0), marks=pytest.mark.slow),
        (2, 8, 1),
        pytest.param((5, 8, 3), marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_as_if_it_had_not(
    stop: tuple[int, int, int], train, tmp_path: Path
) -> None:
    whole = train("whole")
    first = train("run", stop)
    step, answers, updates = stop
    newest = newest_complete(tmp_path / "run")
    assert newest is not None
    assert newest.step == step - 1
    second = train("run", resume_from_checkpoint=True)
    assert losses(first) | losses(second) == losses(whole)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    if answers:
        assert f"Repeats step {step} from the beginning" in said(second)
        assert f"after {answers} answers and {updates} updates" in said(second)
    else:
        assert "nothing is repeated" in said(second)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "freeze"])
@pytest.mark.parametrize("updates", [0, 2])
def test_without_an_adapter_a_begun_step_is_ended(
    method: str, updates: int, train, tmp_path: Path
) -> None:
    whole = train("whole", max_steps=4, **METHODS[method])
    first = train("run", (2, 8, updates), max_steps=4, **METHODS[method])
    newest = newest_complete(tmp_path / "run")
    assert newest is not None
    assert newest.step == (2 if updates else 1)
    assert ("Stops after this step" in said(first)) is bool(updates)
    second = train("run", max_steps=4, resume_from_checkpoint=True, **METHODS[method])
    assert losses(first) | losses(second) == losses(whole)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_steps_after_the_last_checkpoint_are_repeated_and_said(train, tmp_path: Path) -> None:
    """As after a kill: the log went further than the checkpoint."""
    whole = train("run", save_steps=2, max_steps=5)
    for step in (4, 5):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    again = train("run", save_steps=2, max_steps=5, resume_from_checkpoint=True)
    assert "Repeats steps 3 to 5 from the beginning" in said(again)
    assert losses(again) == {s: v for s, v in losses(whole).items() if s > 2}


@pytest.mark.slow
def test_a_stop_inside_an_evaluation_is_made_up_for(train, tmp_path: Path) -> None:
    from engine.training.ppo import trainer as module

    changes = {
        "val_size": 4,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "max_steps": 4,
    }
    whole = train("whole", **changes)
    evaluating = module.PpoTrainer.evaluation_loop

    def stopped(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.session.control.stop()
        return evaluating(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.PpoTrainer, "evaluation_loop", stopped)
        with pytest.raises(Stopped):
            train("run", **changes)
    assert newest_complete(tmp_path / "run").step == 2
    second = train("run", resume_from_checkpoint=True, **changes)
    assert [(e.step, e.loss) for e in second.of(Evaluated)] == [
        (e.step, e.loss) for e in whole.of(Evaluated)
    ]
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_checkpoint_of_another_stage_is_refused(
    train, make_config, make_session, tmp_path: Path
) -> None:
    session, _ = make_session(tmp_path / "run")
    run_training(make_config(max_steps=2, save_steps=1), session)
    with pytest.raises(BadInput, match="where its PPO run stood"):
        train("run", resume_from_checkpoint=True, max_steps=3)
