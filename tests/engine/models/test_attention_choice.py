"""Which attention kernel is taken, and the reason that is told."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.attention_choice import attention_choice, choose
from engine.problem import BadInput
from engine.telemetry import Machine, MachineGpu

HOPPER, AMPERE, TURING = (9, 0), (8, 6), (7, 5)


def all_there(_: str) -> bool:
    return True


def none_there(_: str) -> None:
    return None


def only_second(package: str) -> object:
    return True if package == "flash_attn" else None


@pytest.mark.parametrize(
    ("capability", "installed", "sixteen", "expected"),
    [
        (HOPPER, all_there, True, "flash_attention_3"),
        (HOPPER, only_second, True, "flash_attention_2"),
        (HOPPER, none_there, True, "sdpa"),
        (HOPPER, all_there, False, "sdpa"),
        (AMPERE, all_there, True, "flash_attention_2"),
        (AMPERE, none_there, True, "sdpa"),
        (TURING, all_there, True, "sdpa"),
        (None, all_there, True, "sdpa"),
        ((12, 0), all_there, True, "flash_attention_2"),
    ],
)
def test_auto_takes_the_fastest_that_runs(
    capability: Any, installed: Any, sixteen: bool, expected: str
) -> None:
    chosen = choose("auto", "cuda:0", capability, sixteen, installed=installed)
    assert chosen.name == expected
    assert chosen.line.startswith(f"Attention: {expected}, because ")


def test_a_cpu_takes_pytorchs_own() -> None:
    assert choose("auto", "cpu", None, True, installed=all_there).name == "sdpa"


@pytest.mark.parametrize(
    ("asked", "device", "capability", "sixteen", "installed", "reason"),
    [
        ("fa2", "cpu", None, True, all_there, "computes on the CPU"),
        ("fa2", "cuda:0", TURING, True, all_there, "Ampere or newer"),
        ("fa2", "cuda:0", AMPERE, True, none_there, "flash_attn is not installed"),
        ("fa2", "cuda:0", AMPERE, False, all_there, "16 bits only"),
        ("fa3", "cuda:0", AMPERE, True, all_there, "for Hopper GPUs"),
        ("fa3", "cuda:0", HOPPER, True, none_there, "flash_attn_interface is not installed"),
    ],
)
def test_what_was_asked_for_and_cant_run_is_refused(
    asked: str, device: str, capability: Any, sixteen: bool, installed: Any, reason: str
) -> None:
    with pytest.raises(BadInput) as caught:
        choose(asked, device, capability, sixteen, installed=installed)
    assert reason in caught.value.problem.what
    assert caught.value.problem.setting == "flash_attn"


def test_what_was_asked_for_and_can_run_is_taken() -> None:
    assert choose("fa2", "cuda:0", HOPPER, True, installed=all_there).name == "flash_attention_2"
    assert choose("sdpa", "cuda:0", HOPPER, True, installed=all_there).name == "sdpa"
    assert choose("disabled", "cuda:0", HOPPER, True, installed=all_there).name == "eager"


def test_wide_heads_and_other_architectures_fall_back() -> None:
    wide = choose("auto", "cuda:0", AMPERE, True, head_dim=512, installed=all_there)
    assert wide.name == "sdpa" and "256 wide" in wide.why
    other = choose("auto", "cuda:0", AMPERE, True, can={"flash": False}, installed=all_there)
    assert other.name == "sdpa"
    plain = choose("auto", "cpu", None, True, can={"sdpa": False, "flash": False})
    assert plain.name == "eager"


def test_capped_scores_are_never_left_to_pytorchs_kernel() -> None:
    from transformers import Gemma2Config

    from engine.models.computing import _takes

    config = Gemma2Config()
    assert _takes(config, config) == {"sdpa": False, "flash": True}


def test_the_form_is_told_without_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.models import device

    monkeypatch.setattr(device, "torch_is_for_cpus", lambda: False)
    machine = Machine(
        cpu="", cores=2, cpu_quota=None, cpu_bf16=True, ram_total=1, ram_limited=False,
        gpus=(MachineGpu(0, "T4", 1, TURING),), disk_total=None, disk_free=None,
    )  # fmt: skip
    told = attention_choice(RunConfig(), machine)
    assert told.name == "sdpa" and "7.5" in told.why
    assert attention_choice(RunConfig(use_cpu=True), machine).name == "sdpa"
