"""The shapes of readings: immutable, and None where a machine does not tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CpuReading:
    """`percent` is the busy share (0-100) of the `cores` this process may use."""

    percent: float | None
    cores: int


@dataclass(frozen=True)
class MemoryReading:
    """Bytes in use and in all, of the container where it has a limit, else of the machine."""

    used: int | None
    total: int | None


@dataclass(frozen=True)
class GpuReading:
    """One GPU. `percent` busy (0-100), memory in bytes, power in watts, degrees Celsius."""

    index: int
    name: str
    percent: float | None = None
    used: int | None = None
    total: int | None = None
    power: float | None = None
    power_limit: float | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Reading:
    """One look at the machine. `time` is unix seconds; `process_rss`, `disk_free` are bytes."""

    time: float
    cpu: CpuReading
    ram: MemoryReading
    process_rss: int | None
    gpus: tuple[GpuReading, ...]
    disk_free: int | None
