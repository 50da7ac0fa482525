"""A run stopped between any two micro-batches and resumed is the unbroken run, bit for bit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.events import Evaluated, StateChanged, StepLogged
from engine.problem import BadInput, Stopped
from engine.runs.checkpoints import COMPLETE_MARK, list_checkpoints, newest_complete
from engine.training import run_training
from tests.engine.training.stopping import asked_at, stopped_at

METHODS = {
    "lora": {"finetuning_type": "lora", "lora_dropout": 0.1},
    "full": {"finetuning_type": "full", "learning_rate": 1e-3},
    "freeze": {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
}


def losses(listener: Any) -> dict[int, tuple]:
    return {
        e.step: (e.loss, e.grad_norm, e.learning_rate, e.tokens) for e in listener.of(StepLogged)
    }


def weights(run: Path) -> dict[str, bytes]:
    from safetensors import safe_open

    (file,) = run.glob("*model.safetensors")
    with safe_open(file, "pt") as opened:
        return {key: opened.get_tensor(key).numpy().tobytes() for key in opened.keys()}  # noqa: SIM118


@pytest.fixture
def unbroken(make_config, make_session, tmp_path: Path) -> Callable[..., tuple]:
    def run(**changes: Any) -> tuple[dict, dict]:
        session, listener = make_session(tmp_path / "unbroken")
        run_training(make_config(**changes), session)
        return losses(listener), weights(tmp_path / "unbroken")

    return run


def stop_then_resume(
    look: int, changes: dict, make_config: Any, make_session: Any, run: Path
) -> tuple[dict, dict]:
    """Stop at a look, resume to the end; the losses of both sittings together, and the weights."""
    first_session, first = make_session(run)
    with stopped_at(look):
        run_training(make_config(**changes), first_session)
    session, second = make_session(run)
    run_training(make_config(**changes, resume_from_checkpoint=True), session)
    return losses(first) | losses(second), weights(run)


# 22 rows, micro-batch 2, accumulation 2: 11 micro-batches and 6 steps an epoch, the last step
# of each epoch with one micro-batch. Looks 2 and 4 are inside a step, 3 at the beginning of one,
# 11 the last of an epoch, 12 the first of the next, 15 mid-epoch in the second.
@pytest.mark.parametrize(
    "look", [2, 12, *(pytest.param(one, marks=pytest.mark.slow) for one in (3, 4, 11, 15))]
)
def test_lora_with_dropout_and_shuffling(
    look: int, unbroken, make_config, make_session, tmp_path: Path
) -> None:
    expected = unbroken(**METHODS["lora"])
    got = stop_then_resume(look, METHODS["lora"], make_config, make_session, tmp_path / "run")
    assert got == expected


@pytest.mark.parametrize("method", ["full", "freeze"])
@pytest.mark.parametrize("look", [12, pytest.param(4, marks=pytest.mark.slow)])
def test_full_and_freeze(
    method: str, look: int, unbroken, make_config, make_session, tmp_path: Path
) -> None:
    expected = unbroken(**METHODS[method])
    assert stop_then_resume(look, METHODS[method], make_config, make_session, tmp_path / "run") == (
        expected
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"logging_steps": 5},
        {"train_sampling_strategy": "group_by_length", "neftune_noise_alpha": 5},
        {"lora_rank": 4, "optim": "adafactor", "lr_scheduler_type": "cosine"},
    ],
    ids=["a log between", "grouped, NEFTune", "adafactor"],
)
def test_other_settings(changes: dict, unbroken, make_config, make_session, tmp_path: Path) -> None:
    assert stop_then_resume(14, changes, make_config, make_session, tmp_path / "run") == (
        unbroken(**changes)
    )


def test_stop_inside_validation_is_made_up_for(make_config, make_session, tmp_path: Path) -> None:
    changes = {
        "val_size": 6,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "per_device_eval_batch_size": 1,
    }
    session, whole = make_session(tmp_path / "whole")
    run_training(make_config(**changes), session)
    run = tmp_path / "run"
    first_session, first = make_session(run)
    with stopped_at(7):  # four micro-batches, then the third row of the first validation
        run_training(make_config(**changes), first_session)
    assert not first.of(Evaluated)
    session, second = make_session(run)
    run_training(make_config(**changes, resume_from_checkpoint=True), session)
    evaluated = [(e.step, e.loss, e.best) for e in second.of(Evaluated)]
    assert evaluated == [(e.step, e.loss, e.best) for e in whole.of(Evaluated)]
    assert losses(first) | losses(second) == losses(whole)
    assert weights(run) == weights(tmp_path / "whole")


def test_stop_without_saving_and_before_the_first_step(
    make_config, make_session, tmp_path: Path
) -> None:
    session, _ = make_session(tmp_path / "a")
    session.control.stop(save=False)
    with pytest.raises(Stopped) as stopped:
        run_training(make_config(), session)
    assert not stopped.value.save
    assert list_checkpoints(tmp_path / "a") == []
    run = tmp_path / "b"
    session, _ = make_session(run)
    with stopped_at(1):
        run_training(make_config(), session)
    assert list_checkpoints(run) == []
    session, listener = make_session(run)
    run_training(make_config(resume_from_checkpoint=True, max_steps=1), session)
    assert [e.step for e in listener.of(StepLogged)] == [1]


def test_pause_waits_and_goes_on(make_config, make_session, tmp_path: Path) -> None:
    session, listener = make_session(tmp_path / "run")

    def on(event: Any) -> None:
        if isinstance(event, StateChanged) and event.state == "paused":
            threading.Timer(0.3, session.control.go_on).start()

    listener.on = on
    with asked_at(6, act="pause"):
        run_training(make_config(max_steps=5), session)
    states = [e.state for e in listener.of(StateChanged)]
    assert states[states.index("paused") + 1] == "training"
    assert len(listener.of(StepLogged)) == 5
    logged = listener.of(StepLogged)
    wall = logged[-1].time - logged[0].time
    assert logged[-1].elapsed - logged[0].elapsed < wall - 0.25


def test_resume_from_a_chosen_checkpoint(make_config, make_session, tmp_path: Path) -> None:
    run = tmp_path / "run"
    session, whole = make_session(run)
    run_training(make_config(save_steps=2, max_steps=6), session)
    session, again = make_session(tmp_path / "other")
    run_training(
        make_config(max_steps=6, resume_from_checkpoint=str(run / "checkpoint-2")), session
    )
    assert [e.step for e in again.of(StepLogged)] == [3, 4, 5, 6]
    expected = losses(whole)
    assert losses(again) == {step: expected[step] for step in (3, 4, 5, 6)}
    assert again.of(StepLogged)[0].elapsed > whole.of(StepLogged)[1].elapsed


def test_a_course_that_was_given_up_is_written_anew_and_goes_first(
    make_config, make_session, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_training(make_config(max_steps=8, save_steps=2), make_session(run)[0])
    old = {c.step: c.saved for c in list_checkpoints(run)}
    back = {"max_steps": 8, "resume_from_checkpoint": str(run / "checkpoint-2")}
    pile = make_config().gradient_accumulation_steps
    with stopped_at(3 * pile + 1):
        changed = make_config(**back, save_steps=2, learning_rate=1e-5)
        run_training(changed, make_session(run)[0])
    found = {c.step: c.saved for c in list_checkpoints(run)}
    assert found[4] > max(old.values()) and found[8] == old[8]
    assert newest_complete(run).step == max(found, key=found.get) == 5
    # With a limit, what was just saved stays; checkpoints of the old course make room.
    with stopped_at(pile + 1):
        limited = make_config(**back, save_steps=100, save_total_limit=2)
        run_training(limited, make_session(run)[0])
    assert [c.step for c in list_checkpoints(run)] == [2, 3]


def test_a_resume_that_can_not_begin_leaves_the_runs_settings(
    make_config, make_session, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_training(make_config(max_steps=2, save_steps=1), make_session(run)[0])
    written = (run / "training_args.yaml").read_bytes()
    other = make_config(max_steps=4, lora_rank=2, resume_from_checkpoint=True)
    with pytest.raises(Exception):  # noqa: B017 - whichever library finds it first
        run_training(other, make_session(run)[0])
    assert (run / "training_args.yaml").read_bytes() == written
    run_training(make_config(max_steps=4, resume_from_checkpoint=True), make_session(run)[0])
    assert "max_steps: 4" in (run / "training_args.yaml").read_text(encoding="utf-8")


def test_resuming_a_finished_run_trains_nothing_more(
    make_config, make_session, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = {"max_steps": 4, "save_steps": 2, "val_size": 4, "do_eval": True}
    session, _ = make_session(run)
    first = run_training(make_config(**changes), session)
    before = weights(run)
    session, listener = make_session(run)
    again = run_training(make_config(**changes, resume_from_checkpoint=True), session)
    assert listener.of(StepLogged) == []
    assert weights(run) == before
    for key in ("steps", "train_loss", "eval_loss", "tokens"):
        assert again[key] == first[key]


def test_incomplete_checkpoints_are_never_resumed_from(
    make_config, make_session, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    session, _ = make_session(run)
    run_training(make_config(save_steps=2, max_steps=6), session)
    (run / "checkpoint-6" / COMPLETE_MARK).unlink()
    optimiser = run / "checkpoint-4" / "optimizer.pt"
    optimiser.write_bytes(optimiser.read_bytes()[:-7])
    complete = {c.step: c.complete for c in list_checkpoints(run)}
    assert complete == {2: True, 4: False, 6: False}
    newest = newest_complete(run)
    assert newest is not None and newest.step == 2
    session, listener = make_session(run)
    run_training(make_config(max_steps=6, resume_from_checkpoint=True), session)
    assert [e.step for e in listener.of(StepLogged)] == [3, 4, 5, 6]
    (run / "checkpoint-6" / COMPLETE_MARK).unlink()
    with pytest.raises(BadInput, match="not complete"):
        session, _ = make_session(run)
        run_training(make_config(resume_from_checkpoint=str(run / "checkpoint-6")), session)
    with pytest.raises(BadInput, match="no checkpoint at"):
        session, _ = make_session(run)
        run_training(make_config(resume_from_checkpoint=str(run / "checkpoint-9")), session)


def test_weights_only_checkpoints_can_not_be_resumed_but_a_stop_saves_all(
    make_config, make_session, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    session, _ = make_session(run)
    with stopped_at(8):
        run_training(make_config(save_steps=2, save_only_model=True), session)
    found = {c.step: c.resumable for c in list_checkpoints(run)}
    assert found == {2: False, 3: True}
    assert not (run / "checkpoint-2" / "optimizer.pt").exists()
    with pytest.raises(BadInput, match="weights only"):
        session, _ = make_session(run)
        run_training(make_config(resume_from_checkpoint=str(run / "checkpoint-2")), session)


def test_early_stopping_keeps_its_patience_over_a_resume(
    make_config, make_session, tmp_path: Path
) -> None:
    changes = {
        "val_size": 4,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "early_stopping_steps": 2,
        "load_best_model_at_end": True,
        "learning_rate": 5.0,  # never gets better
        "num_train_epochs": 4,
    }
    session, whole = make_session(tmp_path / "whole")
    run_training(make_config(**changes), session)
    steps = [e.step for e in whole.of(StepLogged)]
    run = tmp_path / "run"
    session, _ = make_session(run)
    with stopped_at(2 * steps[-1] + len(whole.of(Evaluated)) - 3):
        run_training(make_config(**changes), session)
    session, second = make_session(run)
    run_training(make_config(**changes, resume_from_checkpoint=True), session)
    assert [e.step for e in second.of(StepLogged)][-1] == steps[-1]
    best = json.loads((run / "trainer_state.json").read_text())["best_global_step"]
    assert [c.step for c in list_checkpoints(run) if c.best] == [best]
    assert weights(run) == weights(run / f"checkpoint-{best}")


def test_remaining_time_is_of_this_sitting() -> None:
    from engine.training.pace import Pace

    now, paused = [0.0], [0.0]
    pace = Pace(before=1000.0, paused=lambda: paused[0], clock=lambda: now[0])
    assert pace.remaining(50, 100) is None
    pace.begin()
    for step in range(4):
        pace.step_began()
        now[0] += 9.0 if step == 0 else 2.0
        if step == 2:
            now[0] += 500.0
            paused[0] += 500.0
        pace.step_ended(100)
    assert pace.elapsed == 1015.0
    assert pace.remaining(54, 100) == pytest.approx(46 * 2.0)
    assert pace.throughput == pytest.approx(400 / 15)
    pace.logged()
    now[0] += 4.0  # a checkpoint: one second a step so far
    assert pace.throughput is None
    assert pace.remaining(54, 100) == pytest.approx(46 * 3.0)


def test_remaining_is_there_right_after_a_resume(make_config, make_session, tmp_path: Path) -> None:
    run = tmp_path / "run"
    session, _ = make_session(run)
    run_training(make_config(save_steps=3, max_steps=3), session)
    time.sleep(0.5)  # time between the sittings must not count
    session, listener = make_session(run)
    began = time.monotonic()
    run_training(make_config(max_steps=12, resume_from_checkpoint=True), session)
    wall = time.monotonic() - began
    first = listener.of(StepLogged)[0]
    assert first.step == 4 and first.remaining is not None
    assert first.remaining < 8 * (wall + 1)
