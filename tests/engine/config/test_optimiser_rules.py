"""The rules of optimisers, by number; which optimisers a machine can run."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from engine.config import check, read_flat, remarks
from engine.config import optimiser as optimiser_module
from engine.config.optimiser import Optimiser
from engine.config.optimiser_rules import REMARKS, RULES
from engine.config.optimiser_runs import FAMILY_NEEDS, NEEDS, optimiser_state
from engine.problem import BadSettings

GOOD: dict[str, Any] = {
    "model_name_or_path": "demo",
    "dataset": "identity",
    "do_train": True,
    "finetuning_type": "full",
}
GALORE = {"use_galore": True}
APOLLO = {"use_apollo": True}
BADAM = {"use_badam": True}
LORA = {"finetuning_type": "lora"}
LAYERWISE = {**GALORE, "galore_layerwise": True}
TWICE = {"gradient_accumulation_steps": 2}

# rule → (what breaks it on top of GOOD, the setting it marks, words of the sentence).
BREAKS: list[tuple[str, dict[str, Any], str, str]] = [
    ("13", {**LORA, **GALORE}, "use_galore", "GaLore trains whole weights"),
    ("13", {**LORA, **APOLLO}, "use_apollo", "APOLLO trains whole weights"),
    ("13", {**LORA, **BADAM}, "use_badam", "BAdam trains whole weights"),
    ("13", {"finetuning_type": "oft", **GALORE}, "use_galore", "the method is oft"),
    ("13", {**GALORE, **APOLLO}, "use_apollo", "GaLore and APOLLO"),
    ("13", {**GALORE, **BADAM}, "use_badam", "GaLore and BAdam"),
    ("13", {**APOLLO, **BADAM}, "use_badam", "APOLLO and BAdam"),
    ("o80", {**GALORE, "use_muon": True}, "use_muon", "GaLore and Muon"),
    ("o80", {"use_adam_mini": True, "use_muon": True}, "use_muon", "Adam-mini and Muon"),
    ("o81", {**LORA, "use_adam_mini": True}, "use_adam_mini", "does not have"),
    (
        "o82",
        {**LORA, "loraplus_lr_ratio": 4, "use_muon": True},
        "loraplus_lr_ratio",
        "Muon has one learning rate",
    ),
    (
        "o82",
        {**LORA, "loraplus_lr_ratio": 4, "optim": "lomo"},
        "loraplus_lr_ratio",
        "lomo has one learning rate",
    ),
    ("43", {**GALORE, "optim": "lion_8bit"}, "optim", "not with lion_8bit"),
    ("43", {**APOLLO, "optim": "adafactor"}, "optim", "not with adafactor"),
    ("43", {**BADAM, "optim": "galore_adamw"}, "optim", "BAdam in layer mode"),
    ("43", {**BADAM, "badam_mode": "ratio", "optim": "sgd"}, "optim", "BAdam in ratio mode"),
    ("43", {**LAYERWISE, **TWICE}, "gradient_accumulation_steps", "Layer-wise GaLore"),
    (
        "43",
        {**APOLLO, "apollo_layerwise": True, **TWICE},
        "gradient_accumulation_steps",
        "Layer-wise APOLLO",
    ),
    ("43", {"optim": "lomo", **TWICE}, "gradient_accumulation_steps", "lomo updates"),
    (
        "43",
        {"optim": "galore_adamw_layerwise", **TWICE},
        "gradient_accumulation_steps",
        "galore_adamw_layerwise updates",
    ),
    (
        "o83",
        {**LAYERWISE, "stage": "ppo", "reward_funcs": "length", "do_train": True},
        "stage",
        "PPO needs several",
    ),
    ("o83", {**LAYERWISE, "fp16": True, "bf16": False}, "fp16", "scaled until the step"),
    ("o84", {**APOLLO, "apollo_proj_type": "right"}, "apollo_proj_type", "projects the channels"),
    ("o86", {**BADAM, "badam_switch_interval": 0}, "badam_switch_interval", "every 0 steps"),
]


@pytest.mark.parametrize(("number", "change", "setting", "words"), BREAKS)
def test_rule_refuses(number: str, change: dict[str, Any], setting: str, words: str) -> None:
    config = read_flat({**GOOD, **change}).config
    found = [rule(config) for name, rule in RULES if name == number]
    told = [problem for problem in found if problem is not None]
    assert [problem.setting for problem in told] == [setting]
    assert words in told[0].what and told[0].hint
    assert told[0] in check(config)


@pytest.mark.parametrize(
    "change",
    [
        GALORE,
        APOLLO,
        BADAM,
        {**BADAM, "badam_mode": "ratio"},
        {"finetuning_type": "freeze", **GALORE},
        {"use_adam_mini": True},
        {"use_muon": True},
        {**LORA, "use_muon": True},
        {**LORA, "loraplus_lr_ratio": 16.0, "optim": "adamw_8bit"},
        LAYERWISE,
        {**GALORE, "optim": "adafactor"},
        {**BADAM, "optim": "lion_8bit"},
        {**APOLLO, "apollo_proj_type": "right", "apollo_scale_type": "tensor"},
        {"optim": "lomo"},
    ],
)
def test_rules_allow(change: dict[str, Any]) -> None:
    assert check(read_flat({**GOOD, **change}).config) == []


def test_rule_15_of_lora_plus() -> None:
    (problem,) = check(read_flat({**GOOD, "loraplus_lr_ratio": 16}).config)
    assert problem.setting == "loraplus_lr_ratio" and "LoRA" in problem.what


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        (LAYERWISE, "galore_layerwise"),
        ({**APOLLO, "apollo_layerwise": True}, "apollo_layerwise"),
        (BADAM, "use_badam"),
        ({**BADAM, "badam_mode": "ratio"}, "use_badam"),
        ({"optim": "lomo"}, "optim"),
    ],
)
def test_rule_28_on_several_devices(
    change: dict[str, Any], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_flat({**GOOD, **change}).config
    assert check(config) == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [problem.setting for problem in check(config)] == [setting]
    assert "several" in check(config)[0].what


@pytest.mark.parametrize("change", [GALORE, APOLLO])
def test_rule_29_under_deepspeed(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_flat({**GOOD, **change}).config
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    (problem,) = check(config)
    assert "DeepSpeed" in problem.what
    with pytest.raises(BadSettings, match="deepspeed"):
        read_flat({**GOOD, **change, "deepspeed": "z3.json"})


@pytest.mark.parametrize(
    ("change", "module", "extra"),
    [
        (GALORE, "galore_torch", "galore"),
        (APOLLO, "apollo_torch", "apollo"),
        (BADAM, "badam", "badam"),
        ({"use_adam_mini": True}, "adam_mini", "adam-mini"),
        ({"optim": "galore_adamw"}, "galore_torch", "galore"),
        ({"optim": "apollo_adamw"}, "apollo_torch", "apollo"),
        ({"optim": "schedule_free_adamw"}, "schedulefree", "schedule-free"),
        ({"optim": "lomo"}, "lomo_optim", "lomo"),
        ({"optim": "grokadamw"}, "grokadamw", "grokadamw"),
        ({"optim": "stable_adamw"}, "optimi", "stable-adamw"),
        ({"optim": "adamw_torch_4bit"}, "torchao", "torchao"),
    ],
)
def test_rule_32_names_what_installs_it(
    change: dict[str, Any], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.config.optimiser_runs.is_installed", lambda name: name != module)
    (problem,) = check(read_flat({**GOOD, **change}).config)
    assert module in problem.what
    assert problem.hint == f"Install it with: pip install 'finetui[{extra}]'"


def test_extras_are_those_of_the_package() -> None:
    import tomllib
    from pathlib import Path

    text = (Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for need in [*NEEDS.values(), *FAMILY_NEEDS.values()]:
        if "finetui[" in need.install:
            assert need.install.partition("[")[2].partition("]")[0] in extras


def test_every_rule_is_broken_above() -> None:
    elsewhere = {"28", "29", "32"}
    assert {name for name, _ in RULES} - elsewhere == {number for number, *_ in BREAKS}


# -- remarks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "setting", "words"),
    [
        (GALORE, "pure_bf16", "GaLore without pure_bf16"),
        (APOLLO, "pure_bf16", "APOLLO without pure_bf16"),
        (LAYERWISE, "max_grad_norm", "shortens nothing"),
        ({"optim": "paged_adamw_8bit", "use_cpu": True}, "optim", "pages nothing on a CPU"),
        ({"optim": "schedule_free_adamw"}, "lr_scheduler_type", "does not fall"),
        ({"optim": "adafactor", "use_muon": True}, "optim", "is not used"),
    ],
)
def test_what_is_seldom_meant_is_told(change: dict[str, Any], setting: str, words: str) -> None:
    told = remarks(read_flat({**GOOD, **change}).config)
    assert any(p.setting == setting and words in p.what for p in told)


def test_remarks_are_silent_otherwise() -> None:
    silent = {**GALORE, "pure_bf16": True, "max_grad_norm": 0}
    config = read_flat({**GOOD, **silent}).config
    own = [*REMARKS, *optimiser_module.REMARKS]
    assert [remark(config) for remark in own] == [None] * len(own)


# -- what a machine can run ----------------------------------------------------------------------

NO_GPU = SimpleNamespace(gpus=())
GPU = SimpleNamespace(gpus=("one",))


def test_every_name_of_transformers_is_accepted_and_known() -> None:
    from transformers.training_args import OptimizerNames

    names = {name.value for name in OptimizerNames}
    assert {*get_args(Optimiser), "adamw_8bit"} == names == set(NEEDS)
    for name in get_args(Optimiser):
        assert read_flat({**GOOD, "optim": name}).config.optim == name
    assert read_flat({**GOOD, "optim": "adamw_8bit"}).config.optim == "adamw_bnb_8bit"


@pytest.mark.parametrize("name", get_args(Optimiser))
def test_state_of_each_on_a_machine_without_a_gpu(name: str) -> None:
    runs, why = optimiser_state(name, NO_GPU)
    elsewhere = ("adamw_anyprecision", "adamw_torch_xla", "adamw_torch_npu_fused")
    assert runs != (NEEDS[name].cuda or name in elsewhere)
    assert runs or why.endswith(".")


def test_state_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.config.optimiser_runs.torch_is_for_cpus", lambda: False)
    assert optimiser_state("galore_adamw_8bit", GPU) == (True, "")
    assert optimiser_state("galore_adamw_8bit", NO_GPU) == (
        False,
        "galore_adamw_8bit needs an NVIDIA GPU (CUDA).",
    )
    assert optimiser_state("paged_adamw_8bit", GPU) == (True, "")
    assert optimiser_state("paged_adamw_8bit", NO_GPU)[1].startswith("On a CPU nothing is paged")
    monkeypatch.setattr("engine.config.optimiser_runs.torch_is_for_cpus", lambda: True)
    assert optimiser_state("galore_adamw_8bit", GPU)[0] is False


def test_what_needs_a_gpu_is_refused_before_loading() -> None:
    for name in ("galore_adamw_8bit", "adalomo", "paged_ademamix_8bit"):
        (problem,) = check(read_flat({**GOOD, "optim": name, "use_cpu": True}).config)
        assert "CUDA" in problem.what and problem.setting == "optim"
    galore = {**GALORE, "optim": "adamw_8bit", "use_cpu": True}
    (problem,) = check(read_flat({**GOOD, **galore}).config)
    assert "CUDA" in problem.what


def test_asking_needs_no_torch() -> None:
    code = (
        "import sys; from types import SimpleNamespace;"
        "from engine.config.optimiser_runs import NEEDS, optimiser_state;"
        "[optimiser_state(name, SimpleNamespace(gpus=())) for name in NEEDS];"
        "print(bool({'torch', 'bitsandbytes', 'galore_torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
