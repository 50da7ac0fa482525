"""What would make a run fit: each change fits, keeps the update, and is no more than is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.config import RunConfig, check
from engine.models.card import demo_card
from engine.models.memory import forecast
from engine.models.memory_advice import memory_advice, smaller_batches
from engine.telemetry import Machine

GIB = 1 << 30
BASE = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True, "cutoff_len": 1024}


def machine(gib: float) -> Machine:
    return Machine("x", 2, None, True, int(gib * GIB), False, (), None, None)


def advised(gib: float, **changes: Any) -> Any:
    config = RunConfig(**{**BASE, "memory_reserve_gb": 0.0, **changes})
    return memory_advice(demo_card(), config, machine(gib), 1000), config


def test_a_run_that_fits_needs_none() -> None:
    found, _ = advised(64)
    assert found == ()


@pytest.mark.parametrize("gib", [2.0, 3.0])
@pytest.mark.parametrize(
    "changes",
    [
        {"per_device_train_batch_size": 16},
        {"per_device_train_batch_size": 16, "disable_gradient_checkpointing": True},
        {"finetuning_type": "full", "per_device_train_batch_size": 4},
    ],
)
def test_every_advice_fits_and_breaks_no_rule(gib: float, changes: dict[str, Any]) -> None:
    found, config = advised(gib, **changes)
    assert forecast(demo_card(), config, 1000, machine(gib)).total > gib * GIB
    assert found
    for advice in found:
        then = replace(config, **advice.settings)
        told = forecast(demo_card(), then, 1000, machine(gib))
        assert told.total == advice.forecast.total <= gib * GIB
        assert check(then) == []
        if "per_device_train_batch_size" in advice.settings:
            assert then.effective_batch == config.effective_batch


def test_a_smaller_micro_batch_comes_first_and_is_the_largest_that_fits() -> None:
    found, config = advised(3, per_device_train_batch_size=16, gradient_accumulation_steps=2)
    first = found[0]
    batch = first.settings["per_device_train_batch_size"]
    assert first.change == f"micro-batch {batch} × {32 // batch}"
    larger = replace(
        config, per_device_train_batch_size=batch * 2, gradient_accumulation_steps=16 // batch
    )
    assert forecast(demo_card(), larger, 1000, machine(3)).total > 3 * GIB


def test_checkpointing_is_proposed_where_it_was_switched_off() -> None:
    changes = {"per_device_train_batch_size": 4, "disable_gradient_checkpointing": True}
    found, _ = advised(4, **changes)
    assert {"disable_gradient_checkpointing": False} in [advice.settings for advice in found]


def test_what_is_not_enough_alone_is_put_together() -> None:
    (only,), config = advised(1.8, finetuning_type="full", per_device_train_batch_size=16)
    assert len(only.settings) > 2
    assert " + " in only.change
    then = replace(config, **only.settings)
    assert then.effective_batch == 16


def test_nothing_helps_where_the_weights_alone_are_too_large() -> None:
    found, _ = advised(0.5)
    assert found == ()


def test_micro_batches_keep_the_rows_of_an_update() -> None:
    config = RunConfig(per_device_train_batch_size=12, gradient_accumulation_steps=2)
    assert list(smaller_batches(config)) == [(6, 4), (4, 6), (3, 8), (2, 12), (1, 24)]
