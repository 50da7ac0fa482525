"""A check in the background: with the model's tokens, told twice, and given up when asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import RunConfig
from engine.worker.checks import CheckState, start_check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    rows = [
        {"instruction": f"Question number {n}?", "output": f"The answer is {n}."} for n in range(30)
    ]
    (tmp_path / "mine.json").write_text(json.dumps([*rows, rows[3]]))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    return tmp_path


def test_the_quick_part_comes_before_the_slow_one(folder: Path, model_folder: Path) -> None:
    states: list[CheckState] = []
    config = RunConfig(
        model_name_or_path=str(model_folder),
        dataset="mine",
        dataset_dir=str(folder),
        val_size=0.2,
        stage="dpo",
    )
    run = start_check("mine", config, lambda: states.append(run.state))
    assert run.join(60)
    first, last = states
    assert first.found is not None and first.alike is None and not first.finished
    assert last.finished and last.problem == last.note == ""
    assert last.found == first.found and first.found.tokens > 0
    # The set is not for dpo: it is checked for what its rows are for.
    assert first.found.trained_tokens and first.found.duplicates == (31,)
    assert last.alike is not None and [(one.row, one.other) for one in last.alike] == [(31, 4)]
    assert last.leaks is not None


def test_a_model_that_is_not_here_is_noted(folder: Path) -> None:
    config = RunConfig(model_name_or_path=str(folder / "gone"), dataset_dir=str(folder))
    run = start_check("mine", config, lambda: None)
    assert run.join(60)
    assert run.state.note.startswith("Nothing is tokenised: ") and run.state.found is not None
    assert run.state.found.usable == 31 and run.state.found.tokens == 0


def test_it_can_be_given_up(folder: Path) -> None:
    run = start_check("mine", RunConfig(dataset_dir=str(folder)), lambda: None)
    run.stop()
    assert run.join(60) and run.state.finished and run.state.problem == ""


def test_a_set_that_is_not_there_is_a_problem(folder: Path) -> None:
    run = start_check("other", RunConfig(dataset_dir=str(folder)), lambda: None)
    assert run.join(60)
    assert "There is no dataset 'other'" in run.state.problem and run.state.found is None
