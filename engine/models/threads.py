"""How many OpenMP threads compute, how they wait, and how politely: measured once a machine.

Spinning threads are fastest alone, but beside a screen or a busy neighbour they can turn a step
into seconds; sleeping ones are steady, but cost a quiet decoder up to half. So the candidates are
tried for a moment each, with a neighbour that wakes now and then as a screen does, and the fastest
is kept in the state folder. The number of threads decides the last bit of sums, so a resumed run
uses the number its checkpoint was made with (`use_threads`).

Everything here has to happen before torch is imported, as OpenMP reads its environment once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Literal

from engine.paths import state_dir
from engine.runs.atomic import write_atomic
from engine.telemetry import Machine, read_machine

Waiting = Literal["active", "passive"]

_FILE = "machine.json"
# How often a waiting thread of libgomp looks before it sleeps: a fraction of a millisecond,
# longer than the gap between two products, too short to starve a neighbour at every one of them.
# OMP_WAIT_POLICY=ACTIVE would look for minutes: a core burns while nothing runs.
_SPINS = "20000"
# Load a core above which a measurement would tell more of the neighbours than of the machine.
_BUSY = 0.5
_ACTIVITY = "Measuring how many threads are fastest"
_PROBE = """
import time, torch
torch.set_num_threads({threads})
a, b = torch.randn(256, 576), torch.randn(576, 1536)
one = torch.randn(1, 576)
def step():
    for _ in range(8):
        c = torch.nn.functional.silu(a @ b) @ b.t()
    for _ in range(60):
        (one @ b) @ b.t()
step()
times = []
end = time.perf_counter() + {seconds}
while time.perf_counter() < end or len(times) < 5:
    began = time.perf_counter()
    step()
    times.append(time.perf_counter() - began)
print(sum(times) / len(times))
"""
# A neighbour that works for 20 ms in every 200.
_NEIGHBOUR = """
import time
while True:
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        pass
    time.sleep(0.18)
"""


@dataclass(frozen=True)
class Threads:
    """`count` OpenMP threads that wait `active` (spinning for a moment, then asleep) or
    `passive` (asleep at once)."""

    count: int
    waiting: Waiting


def choose_threads(
    progress: Callable[[str, float, float, str], None] | None = None,
    check_stop: Callable[[], object] | None = None,
) -> Threads:
    """This machine's threads: the person's OMP_NUM_THREADS, what was measured, or a measurement.

    Measures (some seconds, in processes of their own) only with `progress`, and only on a machine
    that is not busy with something else, as the answer is kept. Without a measurement the answer
    is all usable cores, asleep while waiting.
    """
    machine = read_machine()
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        policy: Waiting = "active" if _policy() == "active" else "passive"
        return Threads(int(given), policy)
    stored = _stored(machine)
    if stored is not None:
        return stored
    if progress is None or os.getloadavg()[0] > _BUSY * machine.cores:
        return Threads(machine.cores, "passive")
    return measure_threads(machine, progress, check_stop or (lambda: None))


def prepare_threads(threads: Threads) -> bool:
    """Put `threads` into this process. True where they take effect in full.

    Before torch is imported: through OpenMP's environment. After it only the count can change.
    """
    for name, value in _environment(threads).items():
        os.environ.setdefault(name, value)
    os.environ["OMP_NUM_THREADS"] = str(threads.count)
    if "torch" not in sys.modules:
        return True
    use_threads(threads.count)
    return False


def use_threads(count: int) -> None:
    """Compute with `count` threads from here on (a resumed run: its checkpoint's number)."""
    import torch

    torch.set_num_threads(max(count, 1))


def lower_priority(by: int = 5) -> bool:
    """Make the calling thread, and the threads it will start, yield to the screen. Linux only.

    Call it on the engine thread before its OpenMP pool starts. `by` is in steps of nice: 5 leaves
    a quarter of a core beside another program that wants all of it.
    """
    thread = threading.get_native_id()
    with suppress(OSError):
        wanted = min(os.getpriority(os.PRIO_PROCESS, thread) + by, 19)
        os.setpriority(os.PRIO_PROCESS, thread, wanted)
        return True
    return False


def measure_threads(
    machine: Machine,
    progress: Callable[[str, float, float, str], None],
    check_stop: Callable[[], object],
    seconds: float = 1.0,
) -> Threads:
    """Try the candidates for `seconds` each, keep the fastest, and remember it for this machine."""
    counts = _candidates(machine.cores)
    total = len(counts) + 1
    times: dict[Threads, float] = {}
    with subprocess.Popen([sys.executable, "-c", _NEIGHBOUR]) as neighbour:
        try:
            for done, count in enumerate(counts):
                check_stop()
                progress(_ACTIVITY, done, total, "tries")
                _try(Threads(count, "passive"), seconds, times)
            best = min(times, key=lambda item: times[item], default=None)
            check_stop()
            progress(_ACTIVITY, total - 1, total, "tries")
            if best is not None and best.count > 1:
                _try(Threads(best.count, "active"), seconds, times)
        finally:
            neighbour.kill()
    progress(_ACTIVITY, total, total, "tries")
    if not times:
        return Threads(machine.cores, "passive")
    chosen = min(times, key=lambda item: times[item])
    record = {"cpu": machine.cpu, "cores": machine.cores, **asdict(chosen)}
    write_atomic(state_dir() / _FILE, json.dumps(record, indent=1) + "\n")
    return chosen


def _environment(threads: Threads) -> dict[str, str]:
    """What OpenMP reads for these threads."""
    how = {"OMP_WAIT_POLICY": "PASSIVE"}
    if threads.waiting == "active":
        how = {"GOMP_SPINCOUNT": _SPINS}
    return {"OMP_NUM_THREADS": str(threads.count), **how}


def _candidates(cores: int) -> list[int]:
    """Thread counts worth a try: all cores, one left free, and half (hyper-threads)."""
    return sorted({cores, max(cores - 1, 1), max(cores // 2, 1)}, reverse=True)


def _try(threads: Threads, seconds: float, times: dict[Threads, float]) -> None:
    """Seconds a step of the probe takes; a probe that fails leaves no entry."""
    environment = {**os.environ, **_environment(threads), "CUDA_VISIBLE_DEVICES": ""}
    code = _PROBE.format(threads=threads.count, seconds=seconds)
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    with suppress(ValueError):
        times[threads] = float(run.stdout.strip().splitlines()[-1] if run.stdout.strip() else "")


def _stored(machine: Machine) -> Threads | None:
    try:
        record = json.loads((state_dir() / _FILE).read_text(encoding="utf-8"))
        same = record["cpu"] == machine.cpu and record["cores"] == machine.cores
        waiting: Waiting = "active" if record["waiting"] == "active" else "passive"
        return Threads(int(record["count"]), waiting) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _policy() -> str:
    return os.environ.get("OMP_WAIT_POLICY", "").lower()
