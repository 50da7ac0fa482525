"""The lists of trainer keys agree with the transformers that is installed."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from engine.config import settings, treatments
from engine.config.later_values import LATER_VALUES
from engine.config.optimiser import Optimiser
from engine.config.trainer_keys import PASSED_ON
from engine.config.training import Scheduler
from engine.config.translate import _OLD_OPTIMISERS

pytestmark = pytest.mark.slow

# Published defaults that the trainer of today has moved; finetui keeps the published ones.
MOVED = {"optim": "adamw_torch_fused"}


def test_passed_on_keys_are_real_with_their_defaults() -> None:
    from transformers import TrainingArguments

    real = {field.name: field for field in dataclasses.fields(TrainingArguments)}
    for name, (_, default) in PASSED_ON.items():
        field = real[name]
        known = (
            field.default_factory()
            if field.default_factory is not dataclasses.MISSING
            else field.default
        )
        assert known == default, name


def test_no_trainer_key_is_left_without_a_treatment() -> None:
    from transformers import Seq2SeqTrainingArguments

    names = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)}
    assert names - set(treatments()) == set()


def test_defaults_of_settings_are_the_trainers() -> None:
    from transformers import TrainingArguments

    for field in dataclasses.fields(TrainingArguments):
        info = settings().get(field.name)
        if info is None or field.name in ("bf16", "fp16"):
            continue
        assert field.default == MOVED.get(field.name, info.default), field.name


def test_schedulers_and_optimisers_are_the_trainers() -> None:
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert set(get_args(Scheduler)) == {item.value for item in SchedulerType}
    real = {item.value for item in OptimizerNames}
    ours = set(get_args(Optimiser))
    assert ours <= real
    assert real - ours - set(LATER_VALUES["optim"]) <= set(_OLD_OPTIMISERS)


def test_passed_on_values_reach_the_trainers_arguments(tmp_path: object) -> None:
    from transformers import TrainingArguments

    from engine.config import read_flat

    read = read_flat(
        {"dataloader_drop_last": True, "include_for_metrics": ["loss"], "eval_delay": 2}
    )
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **read.config.passed_on)
    assert arguments.dataloader_drop_last is True
    assert arguments.include_for_metrics == ["loss"]
    assert arguments.eval_delay == 2
