"""A thread that looks at the machine once a second; whoever draws takes the latest snapshot."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from pathlib import Path

import psutil

from engine.telemetry.gpus import Gpus
from engine.telemetry.limits import Limits, read_limits
from engine.telemetry.machine import nearest_existing, usable_cores
from engine.telemetry.readings import CpuReading, MemoryReading, Reading


class Sampler:
    """Reads every `interval` seconds from `start()` to `stop()` and keeps the last `keep` readings.

    `path` names the disk that is watched. `latest()` and `history()` may be called from any
    thread and never wait for a reading. `root` and `gpus` stand in for the real ones in tests.
    """

    def __init__(
        self,
        path: Path = Path("."),
        interval: float = 1.0,
        keep: int = 600,
        root: Path = Path("/"),
        gpus: Gpus | None = None,
    ) -> None:
        self.path = path
        self.interval = interval
        self._root = root
        self._gpus = gpus or Gpus()
        self._process = psutil.Process()
        self._cpu = _CpuMeter()
        self._history: deque[Reading] = deque(maxlen=keep)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it (at most for the reading under way)."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None

    def latest(self) -> Reading | None:
        """The newest reading; None before the first one."""
        return self._history[-1] if self._history else None

    def history(self) -> tuple[Reading, ...]:
        """The kept readings, the oldest first."""
        return tuple(self._history)

    def sample(self) -> Reading:
        """Take one reading now, keep it and return it."""
        limits = read_limits(self._root)
        reading = Reading(
            time=time.time(),
            cpu=self._cpu.read(limits),
            ram=_ram(limits),
            process_rss=self._rss(),
            gpus=self._gpus.read(),
            disk_free=_disk_free(self.path),
        )
        self._history.append(reading)
        return reading

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.sample()
            self._stopped.wait(self.interval)

    def _rss(self) -> int | None:
        try:
            return int(self._process.memory_info().rss)
        except psutil.Error:
            return None


class _CpuMeter:
    """Busy share since the last reading.

    Under a CPU quota the container's own CPU time counts, as the machine's cores are mostly other
    people's; without one, the cores of the affinity mask.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        psutil.cpu_percent(percpu=True)

    def read(self, limits: Limits) -> CpuReading:
        cores = usable_cores(limits)
        if limits.cpus is None or limits.cpu_seconds is None:
            return CpuReading(self._of_affinity(), cores)
        now = (time.monotonic(), limits.cpu_seconds)
        last, self._last = self._last, now
        if last is None or now[0] <= last[0]:
            return CpuReading(None, cores)
        share = (now[1] - last[1]) / ((now[0] - last[0]) * limits.cpus)
        return CpuReading(min(max(100 * share, 0.0), 100.0), cores)

    def _of_affinity(self) -> float | None:
        busy = psutil.cpu_percent(percpu=True)
        mine = [busy[core] for core in os.sched_getaffinity(0) if core < len(busy)]
        return sum(mine) / len(mine) if mine else None


def _ram(limits: Limits) -> MemoryReading:
    machine = psutil.virtual_memory()
    if limits.memory is not None and limits.memory < machine.total:
        return MemoryReading(limits.memory_used, limits.memory)
    return MemoryReading(int(machine.total - machine.available), int(machine.total))


def _disk_free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(nearest_existing(path)).free
    except OSError:
        return None
