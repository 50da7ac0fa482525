"""ppo runs, some stopped amid a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.problem import Stopped
from engine.training import run_training
from engine.training.stop import Gate
from tests.engine.training.ppo.cases import PPO


class StopAt:
    """Asks for a stop when the gate is looked at with so many answers and updates in the step."""

    def __init__(self, patch: pytest.MonkeyPatch, step: int, answers: int, updates: int) -> None:
        from engine.training.ppo.trainer import PpoTrainer

        self.trainer: Any = None
        self.done = False
        begin, original = PpoTrainer.begin_step, Gate.pass_through

        def begun(trainer: Any) -> None:
            self.trainer = trainer
            begin(trainer)

        def looked(gate: Gate) -> None:
            t = self.trainer
            here = t is not None and (
                t.state.global_step + 1,
                len(t._buffer.rows),
                t._updates,
            ) == (step, answers, updates)
            if here and not self.done:
                self.done = True
                gate._session.control.stop()
            original(gate)

        patch.setattr(PpoTrainer, "begin_step", begun)
        patch.setattr(Gate, "pass_through", looked)


@pytest.fixture
def train(make_config, make_session, tmp_path: Path) -> Callable[..., Any]:
    def run(name: str, stop: tuple[int, int, int] | None = None, **changes: Any) -> Any:
        session, listener = make_session(tmp_path / name)
        config = make_config(**{**PPO, **changes})
        if stop is None:
            run_training(config, session)
        else:
            with pytest.MonkeyPatch.context() as patch:
                stopper = StopAt(patch, *stop)
                with pytest.raises(Stopped):
                    run_training(config, session)
                assert stopper.done
        return listener

    return run
