"""The choice of threads: a person's own, a remembered measurement, a new one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.models import threads as module
from engine.models.threads import (
    Threads,
    Waiting,
    choose_threads,
    lower_priority,
    measure_threads,
    prepare_threads,
)
from engine.telemetry import Machine

QUIET = lambda *values: None  # noqa: E731  (a progress that nobody watches)
MACHINE = Machine("Test CPU", 8, None, False, 1, False, (), None, None)


@pytest.fixture(autouse=True)
def free_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(module, "read_machine", lambda: MACHINE)
    monkeypatch.setattr(module.os, "getloadavg", lambda: (0.1, 0.1, 0.1))


def measured(monkeypatch: pytest.MonkeyPatch, seconds: dict[Threads, float]) -> list[Threads]:
    tried: list[Threads] = []

    def fake(threads: Threads, _: float, times: dict[Threads, float]) -> None:
        tried.append(threads)
        if threads in seconds:
            times[threads] = seconds[threads]

    monkeypatch.setattr(module, "_try", fake)
    return tried


def test_the_fastest_is_kept_and_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = measured(
        monkeypatch,
        {
            Threads(8, "passive"): 3.0,
            Threads(7, "passive"): 2.0,
            Threads(4, "passive"): 2.5,
            Threads(7, "active"): 1.5,
        },
    )
    assert choose_threads(QUIET) == Threads(7, "active")
    assert len(tried) == 4
    assert choose_threads(QUIET) == Threads(7, "active")
    assert choose_threads() == Threads(7, "active")
    assert len(tried) == 4
    record = json.loads((tmp_path / "state" / "machine.json").read_text())
    assert record == {"cpu": "Test CPU", "cores": 8, "count": 7, "waiting": "active"}


def test_another_machine_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, {Threads(8, "passive"): 1.0})
    assert choose_threads(QUIET) == Threads(8, "passive")
    moved = Machine("Other CPU", 4, None, False, 1, False, (), None, None)
    monkeypatch.setattr(module, "read_machine", lambda: moved)
    tried = measured(monkeypatch, {Threads(3, "passive"): 1.0})
    assert choose_threads(QUIET) == Threads(3, "passive")
    assert tried


def test_without_a_measurement_all_cores_sleep_while_waiting() -> None:
    assert choose_threads() == Threads(8, "passive")


def test_a_busy_machine_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module.os, "getloadavg", lambda: (7.0, 0.0, 0.0))
    tried = measured(monkeypatch, {Threads(1, "passive"): 1.0})
    assert choose_threads(QUIET) == Threads(8, "passive")
    assert tried == []
    assert not (tmp_path / "state" / "machine.json").exists()


def test_a_persons_own_number_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    tried = measured(monkeypatch, {})
    assert choose_threads(QUIET) == Threads(3, "active")
    assert tried == []


def test_a_probe_that_fails_everywhere_falls_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured(monkeypatch, {})
    assert choose_threads(QUIET) == Threads(8, "passive")
    assert not (tmp_path / "state" / "machine.json").exists()


def test_the_probe_runs_for_real_and_its_neighbour_ends() -> None:
    one = Machine("x", 1, None, False, 1, False, (), None, None)
    told: list[tuple[object, ...]] = []
    chosen = measure_threads(one, lambda *values: told.append(values), lambda: None, seconds=0.01)
    assert chosen == Threads(1, "passive")
    assert told[-1] == ("Measuring how many threads are fastest", 2, 2, "tries")
    assert (Path(os.environ["FINETUI_STATE"]) / "machine.json").exists()


def test_only_the_calling_thread_yields() -> None:
    seen: dict[str, int] = {}

    def work() -> None:
        before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert lower_priority(3)
        seen["by"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) - before

    before = os.getpriority(os.PRIO_PROCESS, threading.main_thread().native_id or 0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == {"by": min(3, 19 - before)}
    assert os.getpriority(os.PRIO_PROCESS, threading.main_thread().native_id or 0) == before


def test_prepared_threads_reach_torch() -> None:
    code = (
        "from engine.models.threads import Threads, prepare_threads;"
        "whole = prepare_threads(Threads(1, 'passive'));"
        "import torch; print(whole, torch.get_num_threads());"
        "print(prepare_threads(Threads(2, 'passive')), torch.get_num_threads())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "1", "False", "2"]


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ("active", {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "20000"}),
        ("passive", {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE"}),
    ],
)
def test_waiting_threads_never_spin_without_end(
    waiting: Waiting, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("engine.models.threads.use_threads", lambda count: None)
    prepare_threads(Threads(3, waiting))
    assert {name: os.environ[name] for name in names if name in os.environ} == expected
    for name in names:
        os.environ.pop(name, None)
