"""The rules of quantisation, each by its number; what the form shows; what is not here."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import (
    applies,
    check,
    defaults_for_form,
    read_flat,
    remarks,
    settings,
    with_value,
)
from engine.config import quantisation as group
from engine.problem import BadSettings

GOOD: dict[str, Any] = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}
FOUR: dict[str, Any] = {"quantization_bit": 4}
DPO: dict[str, Any] = {"stage": "dpo", "ref_model": "other"}
ASK: dict[str, Any] = {"do_train": False, "do_eval": True, "eval_dataset": "x"}

# number → (what breaks the rule on top of GOOD, the setting it marks).
BREAKS: list[tuple[str, dict[str, Any], str]] = [
    ("9", {**DPO, "ref_model_quantization_bit": 3}, "ref_model_quantization_bit"),
    ("9", {"reward_model_quantization_bit": 16}, "reward_model_quantization_bit"),
    ("17", {**FOUR, "finetuning_type": "full"}, "quantization_bit"),
    ("17", {**FOUR, "finetuning_type": "freeze"}, "quantization_bit"),
    ("17", {**FOUR, "pissa_init": True}, "pissa_init"),
    ("17", {**FOUR, "adapter_name_or_path": "a,b"}, "adapter_name_or_path"),
    (
        "17",
        {**FOUR, "adapter_name_or_path": "a", "create_new_adapter": True},
        "create_new_adapter",
    ),
    ("25", {**FOUR, "quantization_device_map": "auto"}, "quantization_device_map"),
    ("30", {**FOUR, "fp8": True}, "quantization_bit"),
    ("40", {"quantization_bit": 3}, "quantization_bit"),
    ("40", {"quantization_bit": 16}, "quantization_bit"),
    ("40", {"quantization_bit": 0}, "quantization_bit"),
    ("40", {"quantization_bit": 7, "quantization_method": "hqq"}, "quantization_bit"),
    (
        "40",
        {**ASK, "quantization_bit": 8, "quantization_device_map": "auto"},
        "quantization_device_map",
    ),
    (
        "o91",
        {**DPO, "ref_model_quantization_bit": 8, "ref_model_adapters": "a,b"},
        "ref_model_adapters",
    ),
    (
        "o91",
        {
            "stage": "ppo",
            "reward_model": "r",
            "reward_model_type": "full",
            "reward_model_quantization_bit": 8,
            "reward_model_adapters": "a,b",
        },
        "reward_model_adapters",
    ),
]
ALLOWED: list[dict[str, Any]] = [
    FOUR,
    {"quantization_bit": 8},
    {**FOUR, "quantization_type": "fp4", "double_quantization": False},
    {**FOUR, "adapter_name_or_path": "a"},
    {**FOUR, "use_dora": True},
    {**DPO, "ref_model_quantization_bit": 8, "ref_model_adapters": "a"},
    {**ASK, **FOUR, "quantization_device_map": "auto"},
]


def broken(rules: Any, config: Any) -> dict[str, str]:
    found = {number: rule(config) for number, rule in rules}
    return {number: problem.setting for number, problem in found.items() if problem}


@pytest.mark.parametrize(("number", "change", "marked"), BREAKS)
def test_rule_refuses(number: str, change: dict[str, Any], marked: str) -> None:
    config = read_flat({**GOOD, **change}).config
    assert broken(group.RULES, config)[number] == marked
    problem = next(one for one in check(config) if one.setting == marked)
    assert problem.what.endswith(".") and problem.hint


def test_every_rule_is_broken_above_but_the_missing_package() -> None:
    assert {number for number, _ in group.RULES} - {n for n, _, _ in BREAKS} == {"32"}


@pytest.mark.parametrize("change", ALLOWED)
def test_rules_allow(change: dict[str, Any]) -> None:
    assert broken(group.RULES, read_flat({**GOOD, **change}).config) == {}


@pytest.mark.parametrize("bits", [8, 6, 5, 4, 3, 2, 1])
def test_hqq_has_these_bits(bits: int) -> None:
    """Rule 40; Quantizer.SUPPORTED_BITS of hqq 0.2.8."""
    change = {"quantization_method": "hqq", "quantization_bit": bits}
    assert "40" not in broken(group.RULES, read_flat({**GOOD, **change}).config)


def test_rule_32_hqq_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_flat({**GOOD, **FOUR, "quantization_method": "hqq"}).config
    monkeypatch.setattr(group, "find_spec", lambda name: None)
    problem = group.library_is_there(config)
    assert problem is not None and "pip install 'finetui[hqq]'" in problem.hint
    assert problem.setting == "quantization_method"
    monkeypatch.setattr(group, "find_spec", lambda name: object())
    assert group.library_is_there(config) is None


def test_a_bit_that_the_other_library_has_is_said() -> None:
    problem = group.bits_that_the_library_has(read_flat({**GOOD, "quantization_bit": 3}).config)
    assert problem is not None and "quantization_method: hqq" in problem.hint


def test_chat_may_load_any_model_in_few_bits() -> None:
    full = read_flat({**GOOD, **FOUR, "finetuning_type": "full"}).config
    assert broken(group.CHAT_RULES, full) == {}
    two = read_flat({**GOOD, **FOUR, "adapter_name_or_path": "a,b"}).config
    assert broken(group.CHAT_RULES, two) == {"17": "adapter_name_or_path"}
    assert [problem.setting for problem in check(two, "chat")] == ["adapter_name_or_path"]


@pytest.mark.parametrize("method", ["gptq", "awq", "aqlm", "quanto", "eetq", "mxfp4", "fp8"])
def test_methods_that_would_not_act_are_refused_with_what_to_do(method: str) -> None:
    """The usual tool loads such a model unquantised without a word."""
    with pytest.raises(BadSettings) as caught:
        read_flat({**GOOD, **FOUR, "quantization_method": method})
    (problem,) = caught.value.problems
    assert problem.setting == "quantization_method"
    assert "bnb" in problem.what
    if method == "eetq":
        assert "quantization_bit 8" in problem.what


def test_remarks_w2_and_on_bits_that_save_nothing() -> None:
    six = read_flat({**GOOD, "quantization_method": "hqq", "quantization_bit": 6}).config
    assert any("whole byte" in remark.what for remark in remarks(six))
    told = [remark.setting for remark in remarks(read_flat({**GOOD, **FOUR}).config)]
    assert told == ["upcast_layernorm"]
    steady = read_flat({**GOOD, **FOUR, "upcast_layernorm": True}).config
    assert remarks(steady) == []
    asked = read_flat({**GOOD, **ASK, **FOUR}).config
    assert [remark.setting for remark in remarks(asked)] == ["quantization_bit"]
    assert remarks(read_flat(GOOD).config) == []


def test_the_form_shows_what_means_something() -> None:
    names = {"quantization_method", "quantization_type", "double_quantization"}
    start = defaults_for_form()
    assert applies(start, "quantization_bit")
    assert not any(applies(start, name) for name in names)
    four = with_value(start, "quantization_bit", 4)
    assert all(applies(four, name) for name in names)
    hqq = with_value(four, "quantization_method", "hqq")
    assert [name for name in sorted(names) if applies(hqq, name)] == ["quantization_method"]
    eight = with_value(four, "quantization_bit", 8)
    assert [name for name in sorted(names) if applies(eight, name)] == ["quantization_method"]
    assert settings()["quantization_method"].choices == ("bnb", "hqq")
