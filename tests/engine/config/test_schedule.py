"""The learning rate told without torch is the one that transformers' schedulers give."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.config import check, read_flat, remarks
from engine.config.schedule import (
    OPTIONS,
    curve,
    learning_rate_at,
    schedule_problems,
    warmup_steps,
)
from engine.config.training import Scheduler

FOLLOWING = ("reduce_lr_on_plateau", "greedy")


def config_of(kind: str, **changes: Any) -> Any:
    flat = {
        "model_name_or_path": "demo",
        "dataset": "identity",
        "do_train": True,
        "lr_scheduler_type": kind,
        **changes,
    }
    return read_flat(flat).config


def real(config: Any, total: int) -> list[float]:
    """The learning rates of transformers' scheduler, one an update."""
    import torch
    from transformers import get_scheduler

    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=config.learning_rate)
    scheduler = get_scheduler(
        config.lr_scheduler_type,
        optimizer=optimiser,
        num_warmup_steps=warmup_steps(config, total),
        num_training_steps=total,
        scheduler_specific_kwargs=config.lr_scheduler_kwargs,
    )
    found = []
    for step in range(total):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        # What comes behind the last step is asked of none (polynomial divides by 0 there where all
        # steps warm up).
        if config.lr_scheduler_type not in FOLLOWING and step < total - 1:
            scheduler.step()
    return found


def options_of(kind: str, draw: Any) -> dict[str, Any] | None:
    """Options that the scheduler accepts, some of them left out."""
    share = st.floats(0.0, 1.0)
    choices: dict[str, Any] = {
        "num_cycles": st.floats(0.25, 4),
        "lr_end": st.floats(0, 1e-6),
        "power": st.floats(0.5, 3),
        "timescale": st.integers(1, 500),
        "warmup_lr_rate": share,
        "num_stable_steps": st.integers(0, 30),
        "warmup_type": st.sampled_from(["linear", "cosine", "1-sqrt"]),
        "decay_type": st.sampled_from(["linear", "cosine", "1-sqrt"]),
        "min_lr_ratio": share,
    }
    found = {
        name: draw(choices[name])
        for name in OPTIONS[kind]
        if name in choices and draw(st.booleans())
    }
    if kind == "cosine_with_restarts" and "num_cycles" in found:
        found["num_cycles"] = draw(st.integers(1, 5))
    if "min_lr_rate" in OPTIONS[kind]:
        name = draw(st.sampled_from(["min_lr", "min_lr_rate"]))
        found[name] = draw(share) * (1e-4 if name == "min_lr" else 1)
    if kind == "warmup_stable_decay":
        found["num_decay_steps"] = draw(st.integers(1, 20))
    return found or None


@pytest.mark.parametrize("kind", get_args(Scheduler))
@examples(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_curve_is_the_schedulers(kind: str, data: st.DataObject) -> None:
    total = data.draw(st.integers(2, 60))
    warmup = data.draw(
        st.one_of(
            st.fixed_dictionaries({"warmup_steps": st.integers(0, total - 1)}),
            st.fixed_dictionaries({"warmup_ratio": st.floats(0, 0.9)}),
        )
    )
    config = config_of(
        kind,
        learning_rate=data.draw(st.floats(1e-5, 1e-2)),
        lr_scheduler_kwargs=options_of(kind, data.draw),
        **warmup,
    )
    expected = real(config, total)
    got = [learning_rate_at(config, step, total) for step in range(total)]
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert curve(config, total, total) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_the_table_of_schedulers_is_whole() -> None:
    from transformers import SchedulerType

    assert set(OPTIONS) == {kind.value for kind in SchedulerType} == set(get_args(Scheduler))


def test_a_curve_has_as_many_points_as_asked_for_and_ends_at_the_last_update() -> None:
    config = config_of("cosine", warmup_steps=10, learning_rate=1e-3)
    points = curve(config, 1000, 40)
    assert len(points) == 40
    assert points[0] == 0 and max(points) == pytest.approx(1e-3, rel=1e-2)
    assert points[-1] == learning_rate_at(config, 999, 1000)
    assert curve(config, 1, 3) == [0, 0, 0]


def test_a_warm_up_longer_than_the_run_is_told() -> None:
    config = config_of("linear", warmup_steps=20)
    (problem,) = schedule_problems(config, 10)
    assert problem.setting == "warmup_steps" and "20 steps" in problem.what
    assert schedule_problems(config, 21) == []
    assert schedule_problems(config_of("constant", warmup_steps=20), 10) == []
    known = config_of("linear", warmup_steps=20, max_steps=10)
    assert problem in remarks(known)


def test_a_fall_longer_than_the_run_is_told() -> None:
    config = config_of("warmup_stable_decay", lr_scheduler_kwargs={"num_decay_steps": 50})
    (problem,) = schedule_problems(config, 30)
    assert problem.setting == "lr_scheduler_kwargs" and "50" in problem.what


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("linear", {"min_lr": 1e-6}, "has no option min_lr"),
        ("constant", {"num_cycles": 2}, "has no option num_cycles"),
        ("cosine", {"num_cycles": "two"}, "not a number"),
        ("polynomial", {"lr_end": 1.0}, "not below the learning rate"),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 5, "decay_type": "square"},
            "decay_type is 'square'",
        ),
    ],
)
def test_options_that_a_scheduler_refuses_are_told_first(
    kind: str, options: dict[str, Any], words: str
) -> None:
    found = check(config_of(kind, lr_scheduler_kwargs=options))
    assert any(words in problem.what for problem in found)


def test_greedy_that_can_not_fall_is_told() -> None:
    measured = {"val_size": 0.1, "eval_strategy": "steps"}
    told = remarks(config_of("greedy", learning_rate=1e-4, **measured))
    assert any("can only rise" in problem.what for problem in told)
    good = config_of("greedy", learning_rate=1e-4, lr_scheduler_kwargs={"min_lr": 1e-6}, **measured)
    assert not any("can only rise" in problem.what for problem in remarks(good))


def test_a_curve_needs_no_torch() -> None:
    code = (
        "import sys; from engine.config import read_flat; from engine.config.schedule import curve;"
        "print(curve(read_flat({}).config, 10, 3)); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
