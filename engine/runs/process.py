"""Which process works in a run's folder: `finetui.pid`, and whether that process still lives."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic

LOCK_NAME = "finetui.pid"
# A lock of another machine (a shared disk) can't be asked for its process; as long as the folder
# changed this recently, the run counts as alive.
_FOREIGN_SECONDS = 600.0


@dataclass(frozen=True)
class Lock:
    """Who claimed a folder. `started` is the process's own start (unix seconds).

    `host` and `boot` name the machine and its current boot. `oom_kills` is the kernel's count of
    processes it killed for want of memory, at the time of the claim (None where it tells none).
    """

    pid: int
    started: float
    host: str
    boot: str
    claimed: float
    oom_kills: int | None = None


def claim(folder: Path) -> None:
    """Mark `folder` as worked on by this process.

    Raises BadInput when another living process works there. A lock of a dead one is replaced.
    """
    other = running_pid(folder)
    if other is not None and other != os.getpid():
        raise BadInput(
            Problem(
                f"Another process (pid {other}) is working in this run's folder.",
                where=str(folder),
                hint="Wait for it or stop it, or choose another output_dir.",
            )
        )
    pid = os.getpid()
    lock = Lock(pid, _started(pid) or 0.0, socket.gethostname(), _boot(), time.time(), _oom_kills())
    write_atomic(folder / LOCK_NAME, json.dumps(asdict(lock)) + "\n")


def release(folder: Path) -> None:
    """Take this process's mark off `folder` (another's is left alone)."""
    lock = read_lock(folder)
    if lock is not None and lock.pid == os.getpid():
        (folder / LOCK_NAME).unlink(missing_ok=True)


def read_lock(folder: Path) -> Lock | None:
    """The claim on a folder, or None. A damaged one counts as a claim by nobody (pid 0)."""
    try:
        text = (folder / LOCK_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    try:
        record = json.loads(text)
        return Lock(
            pid=int(record["pid"]),
            started=float(record["started"]),
            host=str(record["host"]),
            boot=str(record["boot"]),
            claimed=float(record["claimed"]),
            oom_kills=record.get("oom_kills"),
        )
    except (ValueError, TypeError, KeyError):
        return Lock(0, 0.0, "", "", 0.0)


def running_pid(folder: Path) -> int | None:
    """The pid of the living process that works in `folder`, or None."""
    lock = read_lock(folder)
    if lock is None or lock.pid <= 0:
        return None
    if lock.host != socket.gethostname():
        return lock.pid if time.time() - _changed(folder) < _FOREIGN_SECONDS else None
    if lock.boot != _boot():
        return None
    started = _started(lock.pid)
    # Pids are used again: only the same start time means the same process.
    if started is None or abs(started - lock.started) > 2.0:
        return None
    return lock.pid


def killed_for_memory(lock: Lock) -> bool:
    """Whether the kernel killed some process for want of memory since this claim was made."""
    now = _oom_kills()
    if lock.oom_kills is None or now is None or lock.boot != _boot():
        return False
    return now > lock.oom_kills


def _changed(folder: Path) -> float:
    newest = 0.0
    for name in (LOCK_NAME, "events.jsonl", "trainer_log.jsonl"):
        try:
            newest = max(newest, (folder / name).stat().st_mtime)
        except OSError:
            continue
    return newest


def _started(pid: int) -> float | None:
    """When a process began, unix seconds; None when there is no such process."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.Error:
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _oom_kills() -> int | None:
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        return None
    return None
