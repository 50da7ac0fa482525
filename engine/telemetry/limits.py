"""A container's limits on memory and CPU, read from cgroup version 2 or 1.

A process may sit several groups deep and any of them may limit it, so every level up to the mount
is read and the tightest wins. See the kernel's Documentation/admin-guide/cgroup-v2.rst and
cgroup-v1/memory.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# cgroup v1 writes "no limit" as the largest page-aligned 64-bit number.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Limits:
    """What the container allows and uses; None where nothing is limited or told.

    `memory`, `memory_used` are bytes (used: without file pages that the kernel can drop).
    `cpus` is the CPU quota in cores (1.5 is possible), `cpu_seconds` the CPU time used so far.
    """

    memory: int | None = None
    memory_used: int | None = None
    cpus: float | None = None
    cpu_seconds: float | None = None


def read_limits(root: Path = Path("/")) -> Limits:
    """The limits on this process; `root` is the file system's root (another one in tests)."""
    paths, mount = _group_paths(root), root / "sys/fs/cgroup"
    memory, used = _read_memory(mount, paths)
    cpus, seconds = _cpu_v2(mount, paths) if _is_v2(mount, paths) else _cpu_v1(mount, paths)
    return Limits(memory, used, cpus, seconds)


def read_memory_limit(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """`memory` and `memory_used` of `Limits` alone: for who asks several times a second."""
    return _read_memory(root / "sys/fs/cgroup", _group_paths(root))


def _group_paths(root: Path) -> dict[str, str]:
    """Controller name to group path, as /proc/self/cgroup has it; version 2 under the name ''."""
    text = _text(root / "proc/self/cgroup") or ""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                paths[controller] = parts[2]
    return paths


def _levels(mount: Path, path: str) -> list[Path]:
    """The group's folder and all above it up to `mount`, the innermost first.

    Without a cgroup namespace a container sees the host's path, which is not under its own mount:
    then the mount itself is its group.
    """
    levels = []
    folder = mount / path.lstrip("/")
    if ".." not in folder.parts and folder.is_dir():
        while folder != mount:
            levels.append(folder)
            folder = folder.parent
    levels.append(mount)
    return levels


def _is_v2(mount: Path, paths: dict[str, str]) -> bool:
    return "" in paths and (mount / "cgroup.controllers").is_file()


def _read_memory(mount: Path, paths: dict[str, str]) -> tuple[int | None, int | None]:
    """The tightest memory limit and what is used under it."""
    if _is_v2(mount, paths):
        return _tightest(
            _levels(mount, paths[""]),
            "memory.max",
            "memory.current",
            ("inactive_file", "active_file"),
        )
    return _tightest(
        _levels(mount / "memory", paths.get("memory", "/")),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    )


def _cpu_v2(mount: Path, paths: dict[str, str]) -> tuple[float | None, float | None]:
    """The CPU quota in cores, and the CPU seconds used."""
    levels = _levels(mount, paths[""])
    cpus = min(filter(None, (_quota_v2(level / "cpu.max") for level in levels)), default=None)
    micro = next(
        filter(None, (_stats(level / "cpu.stat").get("usage_usec") for level in levels)), None
    )
    return cpus, None if micro is None else micro / 1e6


def _cpu_v1(mount: Path, paths: dict[str, str]) -> tuple[float | None, float | None]:
    quotas, nano = [], None
    for folder in ("cpu", "cpu,cpuacct"):
        for level in _levels(mount / folder, paths.get("cpu", "/")):
            quota = _number(level / "cpu.cfs_quota_us")
            period = _number(level / "cpu.cfs_period_us")
            if quota and period and quota > 0:
                quotas.append(quota / period)
    for folder in ("cpuacct", "cpu,cpuacct"):
        for level in _levels(mount / folder, paths.get("cpuacct", "/")):
            nano = nano or _number(level / "cpuacct.usage")
    return min(quotas, default=None), None if nano is None else nano / 1e9


def _tightest(
    levels: list[Path], limit: str, usage: str, droppable: tuple[str, str]
) -> tuple[int | None, int | None]:
    """The smallest limit and what is used under it, without the pages that can be dropped."""
    limited = [
        (number, level)
        for level in levels
        if (number := _number(level / limit)) is not None and number < _UNLIMITED
    ]
    if not limited:
        return None, None
    smallest, folder = min(limited, key=lambda item: item[0])
    used = _number(folder / usage)
    if used is not None:
        stats = _stats(folder / "memory.stat")
        used = max(0, used - sum(stats.get(name, 0) for name in droppable))
    return smallest, used


def _quota_v2(file: Path) -> float | None:
    words = (_text(file) or "").split()
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _stats(file: Path) -> dict[str, int]:
    """The numbers of a file of `name number` lines."""
    lines = (line.split() for line in (_text(file) or "").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def _number(file: Path) -> int | None:
    text = (_text(file) or "").strip()
    try:
        return int(text)
    except ValueError:
        return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
