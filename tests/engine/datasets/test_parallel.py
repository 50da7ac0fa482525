"""Rows made by several processes are those made by one, also where processes fail."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, parallel, prepare
from engine.problem import Stopped


@pytest.fixture
def options(make_set: Any) -> dict[str, Any]:
    rows = [
        {"instruction": f"Say {i}", "output": f"It is {i}." if i % 9 else ""} for i in range(60)
    ]
    return {"dataset": "mine", "dataset_dir": str(make_set(rows)), "preprocessing_batch_size": 8}


def test_the_number_of_processes_is_capped(make_config: Any, model_folders: Any) -> None:
    encoder = Encoder(model_folders["chatml"], make_config())
    cores = len(os.sched_getaffinity(0))

    def count(rows: int, workers: int | None = None) -> int:
        config = make_config(preprocessing_num_workers=workers)
        return parallel.processes_for(config, encoder, rows)

    assert count(100) == 1
    assert count(100, 16) == 1
    assert count(10**6, 16) == min(cores, parallel.MOST_PROCESSES)
    assert count(10**6, 1) == 1
    assert 1 <= count(10**6) <= max(1, cores - 1)


@pytest.mark.parametrize("stage", ["sft", "pt", "ppo"])
def test_two_processes_make_the_same_rows(
    stage: str,
    options: dict[str, Any],
    make_config: Any,
    model_folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(**options, stage=stage)
    encoder = Encoder(model_folders["chatml"], config)
    alone = prepare(config, encoder)
    monkeypatch.setattr(parallel, "processes_for", lambda *_: 2)
    together = prepare(config, encoder)
    assert list(together.train) == list(alone.train)
    assert together.dropped == alone.dropped
    assert together.counts == alone.counts


def test_processes_that_die_are_done_without(
    options: dict[str, Any],
    make_config: Any,
    model_folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(**options)
    encoder = Encoder(model_folders["chatml"], config)
    alone = prepare(config, encoder)
    monkeypatch.setattr(parallel, "processes_for", lambda *_: 2)
    monkeypatch.setattr(parallel, "_begin", os.getpid)  # takes no three arguments: a broken pool
    assert list(prepare(config, encoder).train) == list(alone.train)


def test_a_stop_is_heard_and_leaves_no_process(
    options: dict[str, Any],
    make_config: Any,
    model_folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import multiprocessing

    config = make_config(**options)
    monkeypatch.setattr(parallel, "processes_for", lambda *_: 2)
    told: list[float] = []

    def progress(activity: str, done: float, total: float, unit: str) -> None:
        if activity == "Tokenising":
            told.append(done)

    def check_stop() -> None:
        if told and told[-1] >= 16:
            raise Stopped(save=False)

    with pytest.raises(Stopped):
        prepare(config, Encoder(model_folders["chatml"], config), progress, check_stop)
    assert told == [0, 8, 16]
    assert not multiprocessing.active_children()


def test_further_processes_know_no_torch() -> None:
    import subprocess

    code = "import sys, engine.datasets.parallel; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
