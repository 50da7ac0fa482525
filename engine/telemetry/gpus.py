"""NVIDIA GPUs through NVML. No driver, no library, no GPU: an empty list, never an exception.

Indices follow CUDA_VISIBLE_DEVICES, so that GPU 1 here is `cuda:1` for torch (which is told to
count by PCI bus too, see `engine.models.device`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from engine.telemetry.readings import GpuReading


class Gpus:
    """Holds the NVML handles. `module` stands in for pynvml in tests."""

    def __init__(self, module: Any = None) -> None:
        self._module = module
        self._handles: list[Any] | None = None

    def read(self) -> tuple[GpuReading, ...]:
        """One reading a visible GPU; what a GPU does not tell is None."""
        return tuple(self._one(index, handle) for index, handle in enumerate(self._open()))

    def capabilities(self) -> tuple[tuple[int, int] | None, ...]:
        """CUDA compute capability (major, minor) of each visible GPU."""
        found = []
        for handle in self._open():
            pair = self._ask("nvmlDeviceGetCudaComputeCapability", handle)
            found.append(None if pair is None else (int(pair[0]), int(pair[1])))
        return tuple(found)

    def _open(self) -> list[Any]:
        if self._handles is None:
            self._handles = self._find()
        return self._handles

    def _find(self) -> list[Any]:
        if self._module is None:
            try:
                import pynvml
            except ImportError:
                return []
            self._module = pynvml
        nvml = self._module
        try:
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError:
            return []
        return _visible(
            os.environ.get("CUDA_VISIBLE_DEVICES"),
            count,
            lambda index: self._ask("nvmlDeviceGetHandleByIndex", index),
            lambda uuid: self._ask("nvmlDeviceGetHandleByUUID", uuid),
        )

    def _ask(self, name: str, *arguments: Any) -> Any:
        """Call NVML by name; None where this GPU, driver or library has no answer."""
        function = getattr(self._module, name, None)
        if function is None:
            return None
        try:
            return function(*arguments)
        except self._module.NVMLError:
            return None

    def _one(self, index: int, handle: Any) -> GpuReading:
        name = self._ask("nvmlDeviceGetName", handle)
        name = name.decode() if isinstance(name, bytes) else name
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        busy = self._ask("nvmlDeviceGetUtilizationRates", handle)
        power = self._ask("nvmlDeviceGetPowerUsage", handle)
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        degrees = self._ask("nvmlDeviceGetTemperature", handle, 0)
        return GpuReading(
            index=index,
            name=name or f"GPU {index}",
            percent=None if busy is None else float(busy.gpu),
            used=None if memory is None else int(memory.used),
            total=None if memory is None else int(memory.total),
            power=None if power is None else power / 1000,
            power_limit=None if limit is None else limit / 1000,
            temperature=None if degrees is None else float(degrees),
        )


def _visible(
    setting: str | None,
    count: int,
    by_index: Callable[[int], Any],
    by_uuid: Callable[[str], Any],
) -> list[Any]:
    """The handles that CUDA_VISIBLE_DEVICES lets through, in its order.

    As CUDA does: the first entry that names no GPU ends the list; an empty value hides all.
    """
    if setting is None:
        handles = [by_index(index) for index in range(count)]
        return [handle for handle in handles if handle is not None]
    chosen: list[Any] = []
    for item in (part.strip() for part in setting.split(",")):
        if item.isdigit():
            handle = by_index(int(item)) if int(item) < count else None
        else:
            handle = by_uuid(item) if item.startswith(("GPU-", "MIG-")) else None
        if handle is None:
            break
        chosen.append(handle)
    return chosen
