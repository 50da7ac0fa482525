"""Every optimiser: trains, is saved, is loaded again, and answers; one case a name or family.

A tiny Llama, three steps through the whole run. What needs a GPU or another processor is left out
here with its reason, after its refusal was tried. `.pictures/cells.py` makes the README's table
of this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from engine.config import check
from engine.config.optimiser import Optimiser
from engine.config.optimiser_rules import updates_in_backward
from engine.config.optimiser_runs import optimiser_state
from engine.events import StepLogged
from engine.training import run_training

STEPS = 3
# Switches, by the name of their case; ranks below the tiny model's narrowest matrix (16).
FAMILIES: dict[str, dict[str, Any]] = {
    "galore": {"use_galore": True, "galore_rank": 4},
    "galore-reverse_std": {"use_galore": True, "galore_rank": 4, "galore_proj_type": "reverse_std"},
    "galore-right": {"use_galore": True, "galore_rank": 4, "galore_proj_type": "right"},
    "galore-left": {"use_galore": True, "galore_rank": 4, "galore_proj_type": "left"},
    "galore-full": {"use_galore": True, "galore_rank": 4, "galore_proj_type": "full"},
    "galore-adafactor": {"use_galore": True, "galore_rank": 4, "optim": "adafactor"},
    "galore-8bit": {"use_galore": True, "galore_rank": 4, "optim": "adamw_8bit"},
    "galore-layerwise": {"use_galore": True, "galore_rank": 4, "galore_layerwise": True},
    "galore-freeze": {"use_galore": True, "galore_rank": 4, "finetuning_type": "freeze"},
    "apollo": {"use_apollo": True, "apollo_rank": 4},
    "apollo-svd": {"use_apollo": True, "apollo_rank": 4, "apollo_proj": "svd"},
    "apollo-mini": {"use_apollo": True, "apollo_rank": 1, "apollo_scale_type": "tensor"},
    "apollo-right": {
        "use_apollo": True,
        "apollo_rank": 4,
        "apollo_proj_type": "right",
        "apollo_scale_type": "tensor",
    },
    "apollo-scale_front": {"use_apollo": True, "apollo_rank": 4, "apollo_scale_front": True},
    "apollo-layerwise": {"use_apollo": True, "apollo_rank": 4, "apollo_layerwise": True},
    "badam-layer": {"use_badam": True, "badam_switch_interval": 2},
    "badam-random": {
        "use_badam": True,
        "badam_switch_interval": 2,
        "badam_switch_mode": "random",
    },
    "badam-fixed": {"use_badam": True, "badam_switch_mode": "fixed", "badam_switch_interval": -1},
    "badam-lion": {"use_badam": True, "badam_switch_interval": 2, "optim": "lion_32bit"},
    "badam-freeze": {"use_badam": True, "finetuning_type": "freeze"},
    "badam-ratio": {"use_badam": True, "badam_mode": "ratio"},
    "badam-ratio-scatter": {
        "use_badam": True,
        "badam_mode": "ratio",
        "badam_mask_mode": "scatter",
    },
    "adam_mini": {"use_adam_mini": True},
    "muon": {"use_muon": True},
    "muon-lora": {"use_muon": True, "finetuning_type": "lora"},
    "lora_plus": {"loraplus_lr_ratio": 8.0, "finetuning_type": "lora"},
    "lora_plus-8bit": {
        "loraplus_lr_ratio": 8.0,
        "finetuning_type": "lora",
        "optim": "adamw_8bit",
    },
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"optim": name} for name in get_args(Optimiser)},
    **FAMILIES,
}
# Its first steps only measure: RAdam moves weights once the variance is known.
CASES["schedule_free_radam"] |= {"max_steps": 8}
# They compile their update at the first step, which takes a minute on a CPU.
COMPILED = ("adamw_torch_8bit", "adamw_torch_4bit")


def is_longer(name: str) -> bool:
    """The kinds of a family are longer cases: one of each runs with every change."""
    return name in COMPILED or "-" in name or name.endswith("_layerwise")


# transformers' rank for these names is 128, wider than the tiny model.
for name, changes in CASES.items():
    if name.startswith(("galore_", "apollo_")):
        changes |= {"optim_args": "rank=4,scale=2.0"}


def machine() -> Any:
    """This machine, as far as optimisers ask: its GPUs."""
    from engine.telemetry import read_machine

    return SimpleNamespace(gpus=read_machine().gpus)


def settings_of(name: str) -> dict[str, Any]:
    settings = {
        "finetuning_type": "full",
        "freeze_trainable_layers": 2,
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "weight_decay": 0.01,
        "lora_dropout": 0.0,
        "use_cpu": None,
        **CASES[name],
    }
    return {key: value for key, value in settings.items() if value is not None}


def lacking(name: str) -> str:
    """Why a case can't run here, as the form says it."""
    asked = "galore_adamw_8bit" if name == "galore-8bit" else CASES[name].get("optim", "use_muon")
    return optimiser_state(asked, machine())[1] if not optimiser_state(asked, machine())[0] else ""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=name, marks=pytest.mark.slow if is_longer(name) else ())
        for name in CASES
    ],
)
def test_trains_saves_and_comes_back(
    name: str, make_config: Callable[..., Any], make_session: Callable[..., Any], tmp_path: Path
) -> None:
    settings = settings_of(name)
    config = make_config(gradient_accumulation_steps=1, use_cpu=not machine().gpus, **settings)
    why = lacking(name)
    if why:
        told = [problem for problem in check(config) if problem.setting == "optim"]
        assert told, "the form must refuse it before anything is loaded"
        pytest.skip(why)
    assert check(config) == []
    if not updates_in_backward(config):
        config = make_config(gradient_accumulation_steps=2, use_cpu=not machine().gpus, **settings)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert [event.step for event in logged] == list(range(1, config.max_steps + 1))
    assert all(math.isfinite(event.loss) for event in logged)
    if not name.endswith("lomo"):  # LOMO's hooks take the gradients away before they are seen
        assert all(event.grad_norm > 0 for event in logged)
    comes_back(config, tmp_path / "run")


def comes_back(config: Any, run: Path) -> None:
    """The saved weights differ from the start, and a fresh load of them answers."""
    import torch

    from engine.models import attach_adapters, choose_precision, load_model, load_tokenizer

    base = Path(config.model_name_or_path)
    precision = choose_precision(config, "cpu")
    back: Any = load_model(base, config, precision, "cpu", False, "language")
    before = {name: weight.clone() for name, weight in back.named_parameters()}
    if config.finetuning_type == "lora":
        back = attach_adapters(back, [run], precision, trainable=False)
        assert any(p.abs().max() > 0 for n, p in back.named_parameters() if "lora_B" in n)
    else:
        back = load_model(run, config, precision, "cpu", False, "language")
        assert any(not torch.equal(p, before[n]) for n, p in back.named_parameters())
    inputs = load_tokenizer(base)("Who are you?", return_tensors="pt")
    with torch.no_grad():
        answer = back.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] > inputs["input_ids"].shape[1]
