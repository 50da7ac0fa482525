"""Rules of mixing and packing by number."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import check, read_flat
from engine.config.feeding import RULES

GOOD: dict[str, Any] = {"model_name_or_path": "demo", "dataset": "a,b", "do_train": True}
UNDER = {"mix_strategy": "interleave_under"}

STREAM = {"streaming": True, "max_steps": 10}

BREAKS = [
    ("7", {**STREAM, "val_size": 0.1}, "val_size"),
    ("7", {**STREAM, "max_samples": 5}, "max_samples"),
    ("7", {"streaming": True}, "max_steps"),
    ("7", {**STREAM, "tokenized_path": "tokens"}, "tokenized_path"),
    (
        "o102",
        {**STREAM, "train_sampling_strategy": "group_by_length"},
        "train_sampling_strategy",
    ),
    ("6", {"interleave_probs": "0.5,0.5"}, "interleave_probs"),
    ("6", {**UNDER, "interleave_probs": "0.5,0.2,0.3"}, "interleave_probs"),
    ("6", {**UNDER, "interleave_probs": "half,half"}, "interleave_probs"),
    ("6", {**UNDER, "interleave_probs": "1,-1"}, "interleave_probs"),
    ("6", {**UNDER, "interleave_probs": "0,0"}, "interleave_probs"),
    ("6", {**UNDER, "interleave_probs": "nan,1"}, "interleave_probs"),
    ("18", {"stage": "dpo", "neat_packing": True}, "neat_packing"),
    ("18", {"stage": "pt", "neat_packing": True}, "neat_packing"),
    ("18", {"neat_packing": True, "packing": False}, "neat_packing"),
    ("o101", {"eval_on_each_dataset": True, "val_size": 0.1}, "eval_on_each_dataset"),
]


@pytest.mark.parametrize(("number", "change", "setting"), BREAKS)
def test_rule_refuses(number: str, change: dict[str, Any], setting: str) -> None:
    config = read_flat({**GOOD, **change}).config
    problem = dict(RULES)[number](config)
    assert problem is not None
    assert problem.setting == setting
    assert problem.what.endswith(".") and problem.hint.endswith(".")
    assert problem in check(config)


def test_every_rule_is_broken_above() -> None:
    assert {number for number, _ in RULES} == {number for number, _, _ in BREAKS}


@pytest.mark.parametrize(
    "change",
    [
        {},
        UNDER,
        {**UNDER, "interleave_probs": "0.7, 0.3"},
        STREAM,
        {**STREAM, "val_size": 100, "buffer_size": 10},
        {**STREAM, "stage": "pt", "packing": False},
        {**STREAM, "stage": "pt"},
        {**STREAM, "stage": "kto"},
        {**STREAM, "packing": True},
        {**STREAM, "neat_packing": True},
        {"neat_packing": True},
        {"neat_packing": True, "packing": True},
        {"packing": True},
        {"eval_on_each_dataset": True, "eval_dataset": "c,d", "eval_strategy": "steps"},
        {"preprocessing_num_workers": 16, "overwrite_cache": True, "tokenized_path": "tokens"},
    ],
)
def test_rules_allow(change: dict[str, Any]) -> None:
    assert check(read_flat({**GOOD, **change}).config) == []
