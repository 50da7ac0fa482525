"""Each rule between settings refuses what it should, and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from engine.config import EXPORT_RULES, RULES, check, defaults_for_form, read_flat, remarks

GOOD: dict[str, Any] = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}
MEASURED: dict[str, Any] = {"val_size": 0.1, "eval_strategy": "steps", "eval_steps": 10}
PPO: dict[str, Any] = {"stage": "ppo", "reward_model": "saves/rm"}
SAMPLES = {"stage": "distill", "teacher_model": "demo", "distill_on": "samples"}
GRPO: dict[str, Any] = {"stage": "grpo", "reward_funcs": "contains"}
GENERATE = "predict_with_generate"
SMOOTHING = "dpo_label_smoothing"
ACCUMULATION = "gradient_accumulation_steps"

# rule → (what breaks it on top of GOOD, the setting it marks).
BREAKS: list[tuple[str, dict[str, Any], str]] = [
    ("1", {"model_name_or_path": None}, "model_name_or_path"),
    ("1", {"model_name_or_path": " "}, "model_name_or_path"),
    ("48", {"template": "lama3"}, "template"),
    ("4", {"dataset": None, "do_train": False, "val_size": 0.1}, "val_size"),
    ("5", {"val_size": 0.1, "eval_dataset": "x"}, "val_size"),
    ("8", {"mask_history": True, "train_on_prompt": True}, "mask_history"),
    ("16", {"adapter_name_or_path": "a", "finetuning_type": "full"}, "adapter_name_or_path"),
    ("19", {"do_predict": True, "eval_dataset": "x"}, "predict_with_generate"),
    ("23", {"dataset": None}, "dataset"),
    ("23", {"do_eval": True}, "do_eval"),
    ("23", {"do_predict": True, "predict_with_generate": True}, "do_predict"),
    ("23", {"predict_with_generate": True}, "predict_with_generate"),
    (
        "24",
        {"predict_with_generate": True, "compute_accuracy": True, "eval_dataset": "x"},
        "compute_accuracy",
    ),
    ("27", {"pure_bf16": True, "bf16": False}, "pure_bf16"),
    ("27", {"pure_bf16": True, "fp16": True}, "pure_bf16"),
    ("o1", {"create_new_adapter": True}, "create_new_adapter"),
    (
        "o2",
        {"finetuning_type": "freeze", "freeze_trainable_layers": 0},
        "freeze_trainable_layers",
    ),
    ("o3", {"val_size": 1.5}, "val_size"),
    ("o4", {"bf16": True, "fp16": True}, "fp16"),
    ("o5", {"device": "gpu"}, "device"),
    ("o5", {"device": "cuda:0", "use_cpu": True}, "device"),
    ("o6", {"max_steps": 0}, "max_steps"),
    ("o7", {"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_kwargs"),
    ("o7", {"lr_scheduler_type": "warmup_stable_decay"}, "lr_scheduler_kwargs"),
    ("o85", {"lr_scheduler_kwargs": {"wobble": 2}}, "lr_scheduler_kwargs"),
    (
        "o85",
        {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": "x"}},
        "lr_scheduler_kwargs",
    ),
    ("o8", {"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type"),
    ("o9", {"save_steps": 2.5}, "save_steps"),
    ("o10", {"eval_strategy": "steps"}, "eval_strategy"),
    ("o11", {"load_best_model_at_end": True}, "load_best_model_at_end"),
    ("o11", {"save_strategy": "best"}, "save_strategy"),
    (
        "o11",
        {**MEASURED, "load_best_model_at_end": True, "save_strategy": "epoch"},
        "load_best_model_at_end",
    ),
    ("o11", {**MEASURED, "load_best_model_at_end": True, "save_steps": 25}, "save_steps"),
    ("o12", {**MEASURED, "early_stopping_steps": 3}, "early_stopping_steps"),
    ("o13", {"temperature": 0}, "temperature"),
    ("10", {"stage": "ppo"}, "reward_model"),
    ("10", {"stage": "ppo", "reward_model": " "}, "reward_model"),
    ("10", {**PPO, "finetuning_type": "full"}, "reward_model_type"),
    ("10", {**GRPO, "reward_model": "saves/rm", "finetuning_type": "full"}, "reward_model_type"),
    ("11", {"stage": "dpo", "pref_loss": "hinge", "dpo_label_smoothing": 0.1}, SMOOTHING),
    ("18", {"stage": "dpo", "train_on_prompt": True}, "train_on_prompt"),
    ("18", {"stage": "pt", "mask_history": True}, "mask_history"),
    (
        "18",
        {"stage": "kto", "predict_with_generate": True, "val_size": 0.1},
        "predict_with_generate",
    ),
    ("o14", {"stage": "dpo", "pref_loss": "robust"}, SMOOTHING),
    ("o15", {"stage": "grpo"}, "reward_funcs"),
    ("o15", {"stage": "rloo", "reward_funcs": " , "}, "reward_funcs"),
    ("o16", {**PPO, "reward_model_type": "api"}, "reward_model"),
    ("o16", {"stage": "ppo", "reward_model": "http://127.0.0.1:8000/score"}, "reward_model_type"),
    ("o17", {**GRPO, "reward_funcs": "contains,exactmatch"}, "reward_funcs"),
    ("o17", {**GRPO, "reward_funcs": "mine.py:two words"}, "reward_funcs"),
    ("o17", {**GRPO, "reward_funcs": ".py"}, "reward_funcs"),
    ("o18", {**GRPO, "reward_weights": "1,1"}, "reward_weights"),
    ("o18", {**GRPO, "reward_model": "saves/rm", "reward_weights": "1"}, "reward_weights"),
    ("o18", {**GRPO, "reward_weights": "half"}, "reward_weights"),
    ("o18", {**GRPO, "reward_weights": "nan"}, "reward_weights"),
    ("o18", {**GRPO, "reward_weights": "1,"}, "reward_weights"),
    ("o19", {**GRPO, "reward_funcs": "regex"}, "reward_pattern"),
    ("o19", {**GRPO, "reward_funcs": "regex", "reward_pattern": "(1"}, "reward_pattern"),
    ("o20", {**GRPO, "per_device_train_batch_size": 2}, "num_generations"),
    ("o20", {**GRPO, "stage": "rloo", "num_generations": 3}, "num_generations"),
    ("o21", {**SAMPLES, "temperature": 0, "do_sample": False}, "temperature"),
    ("o21", {**GRPO, "temperature": 0, "do_sample": False}, "temperature"),
    ("o22", {**SAMPLES, "max_new_tokens": 0}, "max_new_tokens"),
    ("o22", {**PPO, "max_new_tokens": 0}, "max_new_tokens"),
    ("o23", {"stage": "distill"}, "teacher_model"),
    ("o24", {"use_dft_loss": True, "use_eaft_loss": True}, "use_eaft_loss"),
    ("o24", {"use_dft_loss": True, "use_asft_loss": True}, "use_asft_loss"),
    ("o25", {"stage": "pt", "use_asft_loss": True}, "use_asft_loss"),
    ("o26", {"stage": "dpo", "compute_accuracy": True}, "compute_accuracy"),
    ("o27", {"stage": "dpo", "packing": True}, "packing"),
]
ALLOWED: list[dict[str, Any]] = [
    {},
    {"val_size": 3},
    {**MEASURED, "load_best_model_at_end": True, "save_steps": 20, "early_stopping_steps": 3},
    {**MEASURED, "eval_steps": 0.1, "save_steps": 0.3, "load_best_model_at_end": True},
    {**MEASURED, "load_best_model_at_end": True, "save_strategy": "best"},
    {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 9}},
    {"lr_scheduler_type": "greedy", **MEASURED},
    {"temperature": 0, "do_sample": False},
    {"device": "cuda:1"},
    {"pure_bf16": True, "bf16": True},
    {"finetuning_type": "freeze", "freeze_trainable_layers": -2},
    {"stage": "pt", "packing": True},
    {"stage": "pt", "packing": False, "compute_accuracy": True},
    {"stage": "dpo", "pref_loss": "robust", "dpo_label_smoothing": 0.1},
    {"stage": "dpo", "dpo_label_smoothing": 0.1},
    {"stage": "distill", "teacher_model": "demo", "train_on_prompt": True},
    {"use_asft_loss": True},
    PPO,
    {**PPO, "reward_model_type": "full", "finetuning_type": "full"},
    {**PPO, "reward_model_type": "api", "reward_model": "https://example.org/score?key=1"},
    # The kind of a reward model that nobody named is of no concern.
    {"stage": "ppo", "reward_funcs": "json_valid", "finetuning_type": "full"},
    {
        **GRPO,
        "reward_funcs": "contains, ./my rules.py:score,C:\\rules.py",
        "reward_weights": "1, 0,-2",
    },
    {**GRPO, "reward_funcs": "regex", "reward_pattern": r"Answer: \d+"},
    {**GRPO, "reward_funcs": "regex", "reward_pattern": r"^\p{Han}++$"},
    {**GRPO, "reward_model": "saves/rm", "reward_weights": "1,0.5"},
    {**GRPO, "num_generations": 2, "per_device_train_batch_size": 1, **{ACCUMULATION: 4}},
    # What a training needs is of no concern to other jobs.
    {"stage": "ppo", "do_train": False},
    {"stage": "distill", "do_train": False, "packing": True, "use_dft_loss": True},
]


@pytest.mark.parametrize(("number", "change", "setting"), BREAKS)
def test_rule_refuses(number: str, change: dict[str, Any], setting: str) -> None:
    config = read_flat({**GOOD, **change}).config
    found = [rule(config) for name, rule in RULES if name == number]
    (problem,) = [problem for problem in found if problem is not None]
    assert problem.setting == setting
    assert problem.what.endswith(".")
    assert problem.hint.endswith(".")
    assert problem in check(config)


def test_every_rule_is_broken_here_or_in_the_file_of_its_group() -> None:
    broken = set()
    for file in Path(__file__).parent.glob("test_*_rules.py"):
        broken |= {case[0] for case in runpy.run_path(str(file)).get("BREAKS", ())}
    # What only a launcher's environment or a missing package breaks: test_optimiser_rules.py, and
    # tests/engine/models/hubs/test_modelscope.py.
    by_surroundings = {"28", "29", "o50"}
    assert {name for name, _ in RULES} - by_surroundings == broken


@pytest.mark.parametrize("change", ALLOWED)
def test_rules_allow(change: dict[str, Any]) -> None:
    assert check(read_flat({**GOOD, **change}).config) == []


def test_the_first_form_may_start() -> None:
    assert check(defaults_for_form()) == []
    assert remarks(defaults_for_form()) == []


def test_several_rules_are_told_together() -> None:
    config = read_flat({"do_train": True, "bf16": True, "fp16": True, "max_steps": 0}).config
    assert [problem.setting for problem in check(config)] == [
        "model_name_or_path",
        "fp16",
        "max_steps",
        "dataset",
    ]


def test_an_export_asks_only_for_what_it_uses() -> None:
    config = read_flat({"model_name_or_path": "demo", "do_train": True}).config
    assert [problem.setting for problem in check(config, "export")] == ["export_dir"]
    assert (
        check(read_flat({"model_name_or_path": "demo", "export_dir": "x"}).config, "export") == []
    )
    assert {name for name, _ in EXPORT_RULES} == {"1", "16", "54"}


def test_a_chat_needs_a_model_only() -> None:
    assert check(read_flat({"model_name_or_path": "demo", "do_train": True}).config, "chat") == []


def test_remarks() -> None:
    weak = read_flat({**GOOD, "lora_rank": 64, "lora_alpha": 16})
    assert any("lora_alpha is 16 with rank 64" in note for note in weak.notes)
    unused = read_flat({**GOOD, "val_size": 0.1})
    assert any("nothing measures" in note for note in unused.notes)
    assert check(weak.config) == check(unused.config) == []
    idle = read_flat({**GOOD, "stage": "dpo", "pref_loss": "simpo", "ref_model": "demo"})
    assert any("ref_model changes nothing with pref_loss simpo" in note for note in idle.notes)
    assert check(idle.config) == []
    used = read_flat({**GOOD, "stage": "dpo", "ref_model": "demo"})
    assert used.notes == ()


@pytest.mark.parametrize(
    ("micro", "accumulation", "answers", "suggested"),
    [(2, 1, 8, 4), (4, 3, 8, 4), (3, 2, 4, 4), (1, 9, 8, 16), (8, 1, 16, 2)],
)
def test_a_torn_group_names_the_next_batch_that_holds_it(
    micro: int, accumulation: int, answers: int, suggested: int
) -> None:
    values = {
        **GOOD,
        **GRPO,
        "per_device_train_batch_size": micro,
        ACCUMULATION: accumulation,
        "num_generations": answers,
    }
    (problem,) = check(read_flat(values).config)
    assert f"{ACCUMULATION}: {suggested}," in problem.hint
    assert check(read_flat({**values, ACCUMULATION: suggested}).config) == []


def test_known_reward_functions_are_those_that_training_has() -> None:
    from engine.config.reward import REWARD_FUNCTIONS
    from engine.training.rewards.functions import REWARD_FUNCTIONS as HERE

    assert tuple(HERE) == REWARD_FUNCTIONS
