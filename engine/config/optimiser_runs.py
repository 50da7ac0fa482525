"""Which optimisers this machine can run, and what the others lack: no torch, nothing imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.installed import install_command, is_installed, torch_is_for_cpus


@dataclass(frozen=True)
class Need:
    """What an optimiser asks for: an importable `module` of a package that `install` brings (none
    is told where no release fits), a CUDA device, or another kind of processor (`made_for`)."""

    module: str = ""
    install: str = ""
    cuda: bool = False
    made_for: str = ""


def _extra(module: str, extra: str, cuda: bool = False) -> Need:
    return Need(module, install_command(extra), cuda)


_BITSANDBYTES = Need("bitsandbytes", "pip install bitsandbytes")
_BITSANDBYTES_CUDA = Need("bitsandbytes", "pip install bitsandbytes", cuda=True)
_GALORE = _extra("galore_torch", "galore")
_APOLLO = _extra("apollo_torch", "apollo")
_SCHEDULE_FREE = _extra("schedulefree", "schedule-free")
_TORCHAO = _extra("torchao", "torchao")

# transformers.training_args.OptimizerNames: name → what it needs beside torch and transformers.
NEEDS: dict[str, Need] = {
    "adamw_torch": Need(),
    "adamw_torch_fused": Need(),
    "adamw_torch_xla": Need("torch_xla", made_for="TPUs"),
    "adamw_torch_npu_fused": Need("torch_npu", made_for="Ascend processors"),
    "adafactor": Need(),
    "adamw_anyprecision": Need("torchdistx"),
    "adamw_torch_4bit": _TORCHAO,
    "adamw_torch_8bit": _TORCHAO,
    "ademamix": _BITSANDBYTES,
    "sgd": Need(),
    "adagrad": Need(),
    "adamw_bnb_8bit": _BITSANDBYTES,
    "adamw_8bit": _BITSANDBYTES,
    "ademamix_8bit": _BITSANDBYTES,
    "lion_8bit": _BITSANDBYTES,
    "lion_32bit": _BITSANDBYTES,
    "paged_adamw_32bit": _BITSANDBYTES,
    "paged_adamw_8bit": _BITSANDBYTES,
    "paged_ademamix_32bit": _BITSANDBYTES_CUDA,
    "paged_ademamix_8bit": _BITSANDBYTES_CUDA,
    "paged_lion_32bit": _BITSANDBYTES,
    "paged_lion_8bit": _BITSANDBYTES,
    "rmsprop": Need(),
    "rmsprop_bnb": _BITSANDBYTES,
    "rmsprop_bnb_8bit": _BITSANDBYTES,
    "rmsprop_bnb_32bit": _BITSANDBYTES,
    "galore_adamw": _GALORE,
    "galore_adamw_8bit": _extra("galore_torch", "galore", cuda=True),
    "galore_adafactor": _GALORE,
    "galore_adamw_layerwise": _GALORE,
    "galore_adamw_8bit_layerwise": _extra("galore_torch", "galore", cuda=True),
    "galore_adafactor_layerwise": _GALORE,
    "lomo": _extra("lomo_optim", "lomo"),
    "adalomo": _extra("lomo_optim", "lomo", cuda=True),
    "grokadamw": _extra("grokadamw", "grokadamw"),
    "schedule_free_radam": _SCHEDULE_FREE,
    "schedule_free_adamw": _SCHEDULE_FREE,
    "schedule_free_sgd": _SCHEDULE_FREE,
    "apollo_adamw": _APOLLO,
    "apollo_adamw_layerwise": _APOLLO,
    "stable_adamw": _extra("optimi", "stable-adamw"),
}
# The switches beside `optim`: setting → what it needs.
FAMILY_NEEDS: dict[str, Need] = {
    "use_galore": _GALORE,
    "use_apollo": _APOLLO,
    "use_badam": _extra("badam", "badam"),
    "use_adam_mini": _extra("adam_mini", "adam-mini"),
    "use_muon": Need(),
}


def optimiser_state(name: str, machine: Any) -> tuple[bool, str]:
    """Whether `machine` (telemetry's `Machine`, or what has its `gpus`) can run the optimiser of
    this `optim` name or family switch (`use_galore`), and why not; or what differs there.

    Asks for packages and GPUs only: nothing is imported. Raises KeyError for an unknown name.
    """
    device = "cuda" if machine.gpus and not torch_is_for_cpus() else "cpu"
    lacking = what_it_lacks(name, device)
    if lacking:
        return False, lacking
    if name.startswith("paged_") and device == "cpu":
        return True, "On a CPU nothing is paged: the state stays in memory."
    return True, ""


def what_it_lacks(name: str, device: str) -> str:
    """What the optimiser `name` lacks on `device` ("cpu", "cuda:0"), as a sentence; empty where
    it runs."""
    need = NEEDS[name] if name in NEEDS else FAMILY_NEEDS[name]
    if need.made_for:
        return f"{name} is made for {need.made_for}, which finetui doesn't train on."
    if need.module and not is_installed(need.module):
        if not need.install:
            return f"{name} needs {need.module}, which has no release for today's torch."
        return f"{name} needs the package {need.module}: {need.install}"
    if need.cuda and device == "cpu":
        return f"{name} needs an NVIDIA GPU (CUDA)."
    return ""
