"""The rules that concern methods and their variants, by number: refused with one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import check, read_flat
from engine.config.catalogue import applies
from engine.config.check import CHAT_RULES, EXPORT_RULES, REMARKS, RULES
from engine.config.variant_rules import REMARKS as OWN_REMARKS
from engine.config.variant_rules import RULES as OWN_RULES
from engine.problem import BadSettings

GOOD: dict[str, Any] = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}
OFT = {"finetuning_type": "oft"}
FULL = {"finetuning_type": "full"}
FREEZE = {"finetuning_type": "freeze"}
DPO = {"stage": "dpo"}
PPO = {"stage": "ppo", "reward_funcs": "length"}
GRPO = {"stage": "grpo", "reward_model": "saves/rm"}

# rule → (what breaks it on top of GOOD, the setting it marks, words of the sentence).
BREAKS: list[tuple[str, dict[str, Any], str, str]] = [
    ("12", {**FULL, "use_llama_pro": True}, "use_llama_pro", "the method is full"),
    ("12", {**OFT, "use_llama_pro": True}, "use_llama_pro", "the method is oft"),
    ("14", {**PPO, "pissa_init": True}, "pissa_init", "ppo compares"),
    ("14", {"stage": "kto", "pissa_init": True}, "pissa_init", "kto compares"),
    *(
        ("14", {**DPO, "pref_loss": loss, "pissa_init": True}, "pissa_init", f"dpo ({loss})")
        for loss in ("sigmoid", "hinge", "ipo", "robust", "kto_pair")
        if loss != "robust"
    ),
    ("14", {"use_asft_loss": True, "pissa_init": True}, "pissa_init", "sft compares"),
    ("14", {**GRPO, "kl_beta": 0.1, "pissa_init": True}, "pissa_init", "grpo compares"),
    *(
        ("15", {**method, name: True}, name, f"{name} is a variant of LoRA")
        for name in ("use_rslora", "use_dora", "pissa_init")
        for method in (OFT, FULL, FREEZE)
    ),
    ("15", {**OFT, "loraplus_lr_ratio": 16}, "loraplus_lr_ratio", "is a variant of LoRA"),
    ("16", {**FULL, "adapter_name_or_path": "a"}, "adapter_name_or_path", "the method is full"),
    ("16", {**FREEZE, "adapter_name_or_path": "a"}, "adapter_name_or_path", "is freeze"),
    ("17", {"quantization_bit": 4, "pissa_init": True}, "pissa_init", "quantised"),
    (
        "17",
        {"quantization_bit": 4, "adapter_name_or_path": "a", "create_new_adapter": True},
        "create_new_adapter",
        "can't be merged",
    ),
    (
        "17",
        {"quantization_bit": 4, "adapter_name_or_path": "a,b"},
        "adapter_name_or_path",
        "can't be merged",
    ),
    ("21", {**PPO, "shift_attn": True}, "shift_attn", "changes attention in training only"),
    ("21", {**GRPO, "shift_attn": True}, "shift_attn", "the answers it wrote"),
    ("o60", {"pissa_init": True, "loftq_init": True}, "loftq_init", "first values"),
    ("o60", {"loftq_init": True}, "loftq_init", "not held in 4 bits"),
    ("o60", {"loftq_init": True, "quantization_bit": 8}, "loftq_init", "not held in 4 bits"),
    ("o61", {"pissa_convert": True}, "pissa_convert", "pissa_init is off"),
    ("o62", {"pissa_init": True, "pissa_iter": 0}, "pissa_iter", "pissa_iter is 0"),
    ("o63", {**OFT, "oft_block_size": 0}, "oft_block_size", "at least 2 features"),
    ("o63", {**OFT, "oft_block_size": 1}, "oft_block_size", "at least 2 features"),
    (
        "o64",
        {**FREEZE, "use_llama_pro": True, "freeze_trainable_layers": -2},
        "freeze_trainable_layers",
        "that is -2",
    ),
    ("o65", {**GRPO, "pissa_init": True}, "pissa_init", "pissa_init changes that base"),
    ("o65", {**GRPO, "use_llama_pro": True}, "use_llama_pro", "use_llama_pro changes that base"),
    ("o66", {"shift_attn": True, "flash_attn": "disabled"}, "shift_attn", "is disabled"),
    ("o68", {"use_llama_pro": True, "quantization_bit": 4}, "use_llama_pro", "quantised weights"),
    ("o67", {**DPO, "shift_attn": True}, "shift_attn", "attends in full"),
]
ALLOWED: list[dict[str, Any]] = [
    {"use_rslora": True, "use_dora": True},
    {"pissa_init": True, "pissa_convert": True, "pissa_iter": -1},
    {**DPO, "pref_loss": "orpo", "pissa_init": True},
    {**DPO, "pref_loss": "simpo", "pissa_init": True},
    {"stage": "grpo", "reward_funcs": "length", "pissa_init": True, "kl_beta": 0},
    {**GRPO, "reward_model_type": "full", "use_llama_pro": True},
    {"loftq_init": True, "quantization_bit": 4},
    # Works here: the usual tool can't load its own OFT adapters (rule 16).
    {**OFT, "adapter_name_or_path": "a"},
    {**OFT, "adapter_name_or_path": "a,b", "create_new_adapter": True},
    {**OFT, "oft_rank": 4, "oft_block_size": 0},
    {**OFT, "oft_rank": 4},
    {**FREEZE, "use_llama_pro": True},
    {"use_llama_pro": True},
    {**DPO, "pref_loss": "simpo", "shift_attn": True},
    {"stage": "pt", "dataset": "texts", "shift_attn": True, "flash_attn": "sdpa"},
    {**PPO, "do_train": False, "pissa_init": True, "shift_attn": True},
]


@pytest.mark.parametrize(("number", "change", "setting", "words"), BREAKS)
def test_rule_refuses(number: str, change: dict[str, Any], setting: str, words: str) -> None:
    config = read_flat({**GOOD, **change}).config
    (problem,) = [p for name, rule in RULES if name == number and (p := rule(config)) is not None]
    assert problem.setting == setting
    assert words in problem.what
    assert problem.what.endswith(".") and problem.hint.endswith(".")
    assert problem in check(config)


def test_every_rule_of_the_variants_is_broken_above() -> None:
    assert {name for name, _ in OWN_RULES} <= {number for number, *_ in BREAKS}


def test_rule_45_oft_with_unsloth_is_refused_by_its_key() -> None:
    with pytest.raises(BadSettings, match="use_unsloth isn't here"):
        read_flat({**GOOD, **OFT, "use_unsloth": True})


@pytest.mark.parametrize("change", ALLOWED)
def test_rules_allow(change: dict[str, Any]) -> None:
    assert check(read_flat({**GOOD, **change}).config) == []


@pytest.mark.parametrize("rules", [CHAT_RULES, EXPORT_RULES])
def test_an_oft_adapter_may_be_asked_and_exported(rules: Any) -> None:
    flat = {"model_name_or_path": "demo", **OFT, "adapter_name_or_path": "a", "export_dir": "b"}
    config = read_flat(flat).config
    assert [problem for _, rule in rules if (problem := rule(config))] == []


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"pissa_init": True, "learning_rate": 1e-3}, "learning_rate"),
        ({"lora_rank": 128, "lora_alpha": 64}, "use_rslora"),
        ({"shift_attn": True, "cutoff_len": 512}, "shift_attn"),
    ],
)
def test_remarks(change: dict[str, Any], setting: str) -> None:
    def said(flat: dict[str, Any]) -> list[str]:
        config = read_flat({**GOOD, **flat}).config
        return [problem.setting for rule in REMARKS if (problem := rule(config)) is not None]

    assert setting in said(change)
    assert setting not in said({})
    assert len(OWN_REMARKS) == 3


def test_alpha_below_the_rank_is_no_fault_under_rslora() -> None:
    weak = {**GOOD, "lora_rank": 64, "lora_alpha": 16}
    assert any("lora_alpha is 16" in note for note in read_flat(weak).notes)
    assert not any(
        "lora_alpha is 16" in note for note in read_flat({**weak, "use_rslora": True}).notes
    )


def test_the_form_shows_what_fits_the_method() -> None:
    lora = read_flat(GOOD).config
    oft = read_flat({**GOOD, **OFT}).config
    freeze = read_flat({**GOOD, **FREEZE}).config
    for name in ("use_rslora", "use_dora", "pissa_init"):
        assert applies(lora, name) and not applies(oft, name) and not applies(freeze, name)
    for name in ("oft_block_size", "oft_rank", "oft_target", "module_dropout"):
        assert applies(oft, name) and not applies(lora, name)
    for name in ("adapter_name_or_path", "create_new_adapter", "additional_target"):
        assert applies(lora, name) and applies(oft, name) and not applies(freeze, name)
    assert not applies(lora, "loftq_init")
    assert applies(read_flat({**GOOD, "quantization_bit": 4}).config, "loftq_init")
    assert not applies(read_flat({**GOOD, **OFT, "oft_rank": 4}).config, "oft_block_size")
    # A switch that a rule complains of stays in sight.
    assert applies(read_flat({**GOOD, **FULL, "use_dora": True}).config, "use_dora")
    assert applies(read_flat({**GOOD, "use_llama_pro": True}).config, "freeze_trainable_layers")
