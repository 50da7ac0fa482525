"""Which device a job takes: one, the emptiest GPU or the one that was chosen."""

from __future__ import annotations

import os
from typing import Any

from engine.installed import torch_is_for_cpus
from engine.problem import BadInput, Problem
from engine.telemetry import Machine
from engine.telemetry.gpus import Gpus


def choose_device(config: Any, gpus: Gpus | None = None) -> str:
    """ "cpu" or "cuda:N" for this job. Imports torch unless the settings say cpu.

    N counts the GPUs that CUDA_VISIBLE_DEVICES lets through, by PCI bus like nvidia-smi. Raises
    `BadInput` for a GPU that is not there.
    """
    wanted = _wanted(config)
    if wanted == "cpu":
        return "cpu"
    # CUDA counts the fastest first unless told otherwise; NVML counts by bus. Set before CUDA
    # starts, which torch does late.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is None:
        return f"cuda:{_emptiest(count, gpus or Gpus())}" if count else "cpu"
    index = int(wanted.partition(":")[2] or -1)
    if index < 0 and count:
        return f"cuda:{_emptiest(count, gpus or Gpus())}"
    if index >= count or not count:
        raise BadInput(_no_such_gpu(wanted, count, torch.version.cuda is None))
    return f"cuda:{index}"


def expected_device(config: Any, machine: Machine) -> str:
    """What `choose_device` will most likely say, told without torch, for forecasts."""
    wanted = _wanted(config)
    if wanted == "cpu" or not machine.gpus or torch_is_for_cpus():
        return "cpu"
    if wanted is not None and ":" in wanted:
        return wanted
    largest = max(machine.gpus, key=lambda gpu: gpu.total or 0)
    return f"cuda:{largest.index}"


def _wanted(config: Any) -> str | None:
    """The device that the settings name: "cpu", "cuda", "cuda:N", or None for a free choice."""
    if config.use_cpu:
        return "cpu"
    wanted = (config.device or "").strip().lower()
    if wanted in ("", "auto"):
        return None
    name, _, index = wanted.partition(":")
    if name not in ("cpu", "cuda", "gpu") or (":" in wanted and not index.isdigit()):
        raise BadInput(
            Problem(
                f"There is no device {config.device}.",
                "device",
                "Use cpu, cuda, or one GPU such as cuda:1.",
                "device",
            )
        )
    if name == "cpu":
        return "cpu"
    return f"cuda:{index}" if index else "cuda"


def _emptiest(count: int, gpus: Gpus) -> int:
    """Index of the GPU with the most free memory.

    NVML tells without opening a CUDA context, which would take some hundred MB on every GPU.
    """
    free = [
        gpu.total - gpu.used if gpu.total is not None and gpu.used is not None else None
        for gpu in gpus.read()
    ]
    if count == 1:
        return 0
    if len(free) != count or None in free:
        import torch

        free = [torch.cuda.mem_get_info(index)[0] for index in range(count)]
    return max(range(count), key=lambda index: free[index] or 0)


def _no_such_gpu(wanted: str, count: int, cpu_only: bool) -> Problem:
    if count == 0 and cpu_only:
        what = f"{wanted} was asked for, and the installed torch is built for CPUs only."
        hint = "Install a CUDA build of torch, or set device to cpu."
    elif count == 0:
        what = f"{wanted} was asked for, and torch finds no GPU."
        hint = "Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or set device to cpu."
    else:
        what = f"{wanted} was asked for, and this process sees {count} GPU(s)."
        hint = f"Use cuda:0 to cuda:{count - 1}; CUDA_VISIBLE_DEVICES counts them anew."
    return Problem(what, "device", hint, "device")
