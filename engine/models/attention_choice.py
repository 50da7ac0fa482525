"""Which attention kernel a job takes, and why: told without torch, for the form and the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from engine.config.computing import FLASH
from engine.problem import BadInput, Problem
from engine.telemetry import Machine

Kernel = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"]
# Ampere is the first generation that FlashAttention-2 runs on; FlashAttention-3 is for Hopper.
_FA2_FROM = (8, 0)
_HOPPER = 9
_NAMES: dict[str, Kernel] = {"fa2": "flash_attention_2", "fa3": "flash_attention_3"}
_WIDEST_HEAD = 256


@dataclass(frozen=True)
class Attention:
    """The chosen kernel by transformers' name, and the reason as the end of a sentence."""

    name: Kernel
    why: str

    @property
    def line(self) -> str:
        """The sentence for the log."""
        return f"Attention: {self.name}, because {self.why}."


def attention_choice(
    config: Any, machine: Machine, device: str | None = None, head_dim: int | None = None
) -> Attention:
    """The kernel for `config` on `machine`, as a job would choose it.

    `device` is the job's, by default the one that would be chosen; `head_dim` is the width of an
    attention head, where it is known. Raises BadInput for a kernel that this machine can't run.
    """
    from engine.models.device import expected_device
    from engine.models.precision import expected_precision

    device = device or expected_device(config, machine)
    capability = None
    if device != "cpu":
        index = int(device.partition(":")[2] or 0)
        cards = machine.gpus
        capability = cards[index].capability if index < len(cards) else None
    precision = expected_precision(config, machine, device)
    return choose(config.flash_attn, device, capability, precision.compute_bytes == 2, head_dim)


def choose(
    asked: str,
    device: str,
    capability: tuple[int, int] | None,
    sixteen_bits: bool,
    head_dim: int | None = None,
    can: Mapping[str, bool] | None = None,
    installed: Callable[[str], object] = find_spec,
) -> Attention:
    """The rule itself, free of any machine.

    `capability` is the GPU's; `sixteen_bits` whether attention is computed in 16 bits; `can` tells
    of an architecture whether it can take "sdpa" and "flash". Raises BadInput.
    """
    can = {"sdpa": True, "flash": True, **(can or {})}
    if asked == "disabled":
        return Attention("eager", "flash_attn is disabled")
    if asked == "sdpa":
        return Attention("sdpa", "flash_attn asks for it")
    lacks = {
        name: _lacks(name, device, capability, sixteen_bits, head_dim, can["flash"], installed)
        for name in ("fa3", "fa2")
    }
    if asked in lacks:
        reason = lacks[asked]
        if reason is not None:
            raise BadInput(
                Problem(
                    f"flash_attn: {asked} can't run here: {reason}.",
                    "flash_attn",
                    "Set flash_attn: auto, which takes the fastest that can.",
                    "flash_attn",
                )
            )
        return Attention(_NAMES[asked], "flash_attn asks for it")
    for name, reason in lacks.items():
        if reason is None:
            best = "it is the fastest on Hopper" if name == "fa3" else "it is the fastest here"
            return Attention(_NAMES[name], f"{best} and its package is installed")
    if not can["sdpa"]:
        return Attention("eager", "this architecture has no other attention in transformers")
    if device == "cpu":
        return Attention("sdpa", "PyTorch's fused kernel is the fastest on a CPU")
    return Attention("sdpa", f"FlashAttention-2 can't run here ({lacks['fa2']})")


def _lacks(
    name: str,
    device: str,
    capability: tuple[int, int] | None,
    sixteen_bits: bool,
    head_dim: int | None,
    architecture: bool,
    installed: Callable[[str], object],
) -> str | None:
    """What FlashAttention lacks here, as a phrase; None where it can run."""
    if device == "cpu":
        return "it is a kernel for NVIDIA GPUs, and the run computes on the CPU"
    if capability is None:
        return "it is not known what this GPU can do"
    if name == "fa3" and capability[0] != _HOPPER:
        return f"it is for Hopper GPUs, and this one has capability {capability[0]}.{capability[1]}"
    if name == "fa2" and capability < _FA2_FROM:
        return f"it needs Ampere or newer, and this GPU has capability {capability[0]}." + str(
            capability[1]
        )
    if not sixteen_bits:
        return "it computes in 16 bits only, and the run in fp32"
    if head_dim is not None and head_dim > _WIDEST_HEAD:
        return f"its heads are {_WIDEST_HEAD} wide at most, and the model's {head_dim}"
    if not architecture:
        return "this architecture doesn't take it"
    package, _ = FLASH[name]
    if not installed(package):
        return f"the package {package} is not installed"
    return None
