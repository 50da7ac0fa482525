"""What this machine has and how busy it is: CPU, memory, disk, GPU; container limits included."""

from __future__ import annotations

from engine.telemetry.limits import Limits, read_limits
from engine.telemetry.machine import Machine, MachineGpu, cpu_flags, memory_left, read_machine
from engine.telemetry.readings import CpuReading, GpuReading, MemoryReading, Reading
from engine.telemetry.sampler import Sampler

__all__ = [
    "CpuReading",
    "GpuReading",
    "Limits",
    "Machine",
    "MachineGpu",
    "MemoryReading",
    "Reading",
    "Sampler",
    "cpu_flags",
    "memory_left",
    "read_limits",
    "read_machine",
]
