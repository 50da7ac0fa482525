"""Readings of the machine: fake cgroup trees, a fake NVML, and this machine itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.telemetry import Sampler, cpu_flags, memory_left, read_limits, read_machine
from engine.telemetry.gpus import Gpus

GIB = 1 << 30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def v2(root: Path, **extra: str) -> Path:
    return tree(
        root,
        {
            "proc/self/cgroup": "0::/pod/job\n",
            "proc/meminfo": f"MemTotal: {64 * GIB // 1024} kB\n",
            "proc/cpuinfo": "model name\t: Test  CPU\nflags\t: sse avx512_bf16\n\nmodel name: x\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "sys/fs/cgroup/pod/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/pod/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file {GIB}\n",
            "sys/fs/cgroup/pod/job/memory.max": "max\n",
            "sys/fs/cgroup/pod/job/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/job/cpu.stat": "usage_usec 2500000\n",
            "sys/fs/cgroup/pod/cpu.max": "max 100000\n",
        },
    )


def test_cgroup_v2_takes_the_tightest_level_and_leaves_out_droppable_pages(tmp_path: Path) -> None:
    limits = read_limits(v2(tmp_path))
    assert limits.memory == 4 * GIB
    assert limits.memory_used == 1 * GIB
    assert limits.cpus == 1.5
    assert limits.cpu_seconds == 2.5


def test_cgroup_v1(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB // 2}\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "7000000000\n",
        },
    )
    limits = read_limits(root)
    assert (limits.memory, limits.memory_used) == (2 * GIB, GIB // 2)
    assert (limits.cpus, limits.cpu_seconds) == (4.0, 7.0)


def test_no_limit_and_no_cgroup_are_values(tmp_path: Path) -> None:
    assert read_limits(tmp_path).memory is None
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert read_limits(root).memory is None
    assert read_limits(root).cpus is None


def test_machine_honours_the_container(tmp_path: Path) -> None:
    machine = read_machine(root=v2(tmp_path), gpus=Gpus(FakeNvml()))
    assert machine.cpu == "Test CPU"
    assert machine.cores == 1
    assert machine.ram_total == 4 * GIB
    assert machine.ram_limited
    assert machine.cpu_bf16
    assert [gpu.capability for gpu in machine.gpus] == [(8, 6), None]
    assert "avx512_bf16" in cpu_flags(tmp_path)
    assert memory_left(tmp_path) <= 3 * GIB


class FakeNvml:
    """Two GPUs: one that tells everything, one (as MIG slices do) that tells only its memory."""

    class NVMLError(Exception):
        pass

    def __init__(self, driver: bool = True) -> None:
        self.driver = driver

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("driver not loaded")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid == "GPU-b":
            return 1
        raise self.NVMLError(uuid)

    def nvmlDeviceGetName(self, handle: int) -> bytes | str:
        return [b"Test A", "Test B"][handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=handle * GIB, total=8 * GIB)

    def _only_first(self, handle: int, answer: object) -> object:
        if handle:
            raise self.NVMLError("not supported")
        return answer

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:
        return self._only_first(handle, SimpleNamespace(gpu=73))

    def nvmlDeviceGetPowerUsage(self, handle: int) -> object:
        return self._only_first(handle, 312_500)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> object:
        return self._only_first(handle, 450_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> object:
        return self._only_first(handle, 61)

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> object:
        return self._only_first(handle, [8, 6])


def test_gpu_readings_and_missing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = Gpus(FakeNvml()).read()
    assert (first.name, first.percent, first.power, first.power_limit) == ("Test A", 73, 312.5, 450)
    assert (first.temperature, first.total) == (61, 8 * GIB)
    assert (second.name, second.percent, second.power, second.temperature) == (
        "Test B",
        None,
        None,
        None,
    )
    assert second.used == GIB


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["Test B"]),
        ("1,0", ["Test B", "Test A"]),
        ("GPU-b", ["Test B"]),
        ("", []),
        ("0,9,1", ["Test A"]),
        ("-1", []),
    ],
)
def test_cuda_visible_devices(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    readings = Gpus(FakeNvml()).read()
    assert [gpu.name for gpu in readings] == names
    assert [gpu.index for gpu in readings] == list(range(len(names)))


def test_no_driver_is_an_empty_list() -> None:
    assert Gpus(FakeNvml(driver=False)).read() == ()


def test_sampler_keeps_a_bounded_history(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path / "not" / "yet", interval=0.01, keep=3, gpus=Gpus(FakeNvml()))
    assert sampler.latest() is None
    for _ in range(5):
        sampler.sample()
    assert len(sampler.history()) == 3
    latest = sampler.latest()
    assert latest is not None
    assert latest.process_rss and latest.process_rss > 0
    assert latest.disk_free and latest.disk_free > 0
    assert latest.ram.total and latest.ram.used and latest.ram.used <= latest.ram.total
    assert len(latest.gpus) in (0, 1, 2)


def test_sampler_thread_reads_until_stopped(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, interval=0.01)
    sampler.start()
    deadline = 500
    while len(sampler.history()) < 3 and deadline:
        sampler._stopped.wait(0.01)
        deadline -= 1
    sampler.stop()
    count = len(sampler.history())
    assert count >= 3
    assert sampler._thread is None


def test_cpu_share_under_a_quota(tmp_path: Path) -> None:
    root = v2(tmp_path)
    sampler = Sampler(tmp_path, root=root, gpus=Gpus(FakeNvml()))
    assert sampler.sample().cpu.percent is None
    (root / "sys/fs/cgroup/pod/job/cpu.stat").write_text("usage_usec 999000000\n")
    reading = sampler.sample()
    assert reading.cpu.percent == 100.0
    assert reading.ram.total == 4 * GIB
    assert reading.ram.used == GIB


def test_importing_telemetry_brings_no_heavy_library() -> None:
    code = (
        "import sys, engine.telemetry; "
        "print([n for n in ('torch','numpy','pynvml','transformers') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
