"""What a run says of validation rows that it trains on; and that it does not wait for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import checks
from engine.events import LogLine, StepLogged
from engine.training import run_training
from engine.training.leak_watch import LeakWatch


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """`ours` to train on; `theirs`, of whose rows the second is one of ours."""
    rows = [
        {"instruction": f"What follows on the number {n}?", "output": f"After {n} comes {n + 1}."}
        for n in range(8)
    ]
    folder = tmp_path / "sets"
    folder.mkdir()
    (folder / "ours.json").write_text(json.dumps(rows))
    other = {"instruction": "Another question altogether", "output": "with its answer"}
    (folder / "theirs.json").write_text(json.dumps([other, rows[4]]))
    registry = {name: {"file_name": f"{name}.json"} for name in ("ours", "theirs")}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    return folder


def test_leaked_rows_are_said_with_their_numbers(
    two_sets: Path, tmp_path: Path, make_config: Callable[..., Any], make_session: Any
) -> None:
    config = make_config(dataset="ours", eval_dataset="theirs", dataset_dir=str(two_sets))
    session, listener = make_session(tmp_path / "run")
    with LeakWatch(config, session, held_out=2) as watch:
        watch.join()
    (line,) = listener.of(LogLine)
    assert line.level == "warning" and line.text.startswith("1 validation row is trained on too")
    assert "row 2 of theirs is like row 5 of ours" in line.text


def test_a_split_without_repeats_and_a_run_without_validation_say_nothing(
    two_sets: Path, tmp_path: Path, make_config: Callable[..., Any], make_session: Any
) -> None:
    session, listener = make_session(tmp_path / "run")
    for changes, held in (({"val_size": 2.0}, 2), ({}, 0)):
        config = make_config(dataset="theirs", dataset_dir=str(two_sets), **changes)
        with LeakWatch(config, session, held) as watch:
            if held:
                watch.join()
    assert listener.events == []


def test_a_run_does_not_wait_for_it(
    two_sets: Path,
    tmp_path: Path,
    make_config: Callable[..., Any],
    make_session: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The comparison goes on for as long as it is not told to stop; the run ends all the same."""
    asked = []

    def endless(config: Any, most: int, progress: Any = None, check_stop: Any = None) -> None:
        import time

        while True:
            asked.append(1)
            check_stop()
            time.sleep(0.01)

    monkeypatch.setattr(checks, "run_leaks", endless)
    config = make_config(
        dataset="ours", eval_dataset="theirs", dataset_dir=str(two_sets), max_steps=2
    )
    session, listener = make_session(tmp_path / "run")
    results = run_training(config, session)
    assert asked and results
    assert [event.step for event in listener.of(StepLogged)] == [1, 2]
    assert not any("trained on too" in line.text for line in listener.of(LogLine))
