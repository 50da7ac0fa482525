"""What does not change while the program runs: the processor, the memory, the GPUs, the disk."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.telemetry.gpus import Gpus
from engine.telemetry.limits import Limits, read_limits, read_memory_limit


@dataclass(frozen=True)
class MachineGpu:
    """A GPU this process may use: `total` bytes, compute `capability` (8, 0) or None."""

    index: int
    name: str
    total: int | None
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Machine:
    """The machine as this process may use it.

    `cores` respects the affinity mask and the container's CPU quota (`cpu_quota`, in cores, None
    where there is none). `ram_total` is the container's limit where it has one. Sizes in bytes.
    `cpu_bf16` tells whether the processor multiplies bf16 matrices (AVX512-BF16, AMX, ARM's BF16).
    """

    cpu: str
    cores: int
    cpu_quota: float | None
    cpu_bf16: bool
    ram_total: int
    ram_limited: bool
    gpus: tuple[MachineGpu, ...]
    disk_total: int | None
    disk_free: int | None


def read_machine(
    path: Path = Path("."), root: Path = Path("/"), gpus: Gpus | None = None
) -> Machine:
    """Look once. `path` names the disk; `root` and `gpus` stand in for the real ones in tests."""
    limits = read_limits(root)
    ram = _ram_total(root)
    limited = limits.memory is not None and limits.memory < ram
    cards = gpus or Gpus()
    capabilities = cards.capabilities()
    try:
        disk = shutil.disk_usage(nearest_existing(path))
    except OSError:
        disk = None
    return Machine(
        cpu=_cpu_name(root),
        cores=usable_cores(limits),
        cpu_quota=limits.cpus,
        cpu_bf16=bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags(root)),
        ram_total=min(ram, limits.memory) if limits.memory is not None else ram,
        ram_limited=limited,
        gpus=tuple(
            MachineGpu(gpu.index, gpu.name, gpu.total, capability)
            for gpu, capability in zip(cards.read(), capabilities, strict=True)
        ),
        disk_total=disk.total if disk else None,
        disk_free=disk.free if disk else None,
    )


def usable_cores(limits: Limits) -> int:
    """Whole cores this process can keep busy: affinity mask and quota, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    if limits.cpus is not None:
        allowed = min(allowed, int(limits.cpus))
    return max(allowed, 1)


def memory_left(root: Path = Path("/")) -> int:
    """Bytes that can still be taken before something is killed: the machine's, or the container's.

    File pages that the kernel can drop (a mapped model is one) count as free.
    """
    import psutil

    left = int(psutil.virtual_memory().available)
    limit, used = read_memory_limit(root)
    if limit is not None and used is not None:
        left = min(left, limit - used)
    return max(left, 0)


@lru_cache(maxsize=4)
def cpu_flags(root: Path = Path("/")) -> frozenset[str]:
    """The processor's features by their Linux names (`avx512_bf16`, ARM: `bf16`)."""
    for line in _cpuinfo(root):
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _cpu_name(root: Path) -> str:
    for line in _cpuinfo(root):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def _cpuinfo(root: Path) -> list[str]:
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The processors are alike: the first block tells.
    return text.split("\n\n", 1)[0].splitlines()


def _ram_total(root: Path) -> int:
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # asked another way below
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists (a run folder is made later)."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
