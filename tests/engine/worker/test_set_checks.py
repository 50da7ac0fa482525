"""A check in the background: with the model's tokens, told twice, and given up when asked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.worker import checks as worker_checks
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


@pytest.fixture
def many(folder: Path) -> Path:
    """Enough rows for their tokens to be kept, one of which can't be used."""
    text = "light is a wave and a particle that goes through the air and the glass"
    words = text.split(" ")
    rows = [
        {"instruction": f"Number {n}?", "output": " ".join(words[n % 7 :] * 9) + f" {n}"}
        for n in range(700)
    ]
    rows[4]["output"] = ""
    (folder / "mine.json").write_text(json.dumps(rows))
    return folder


def test_the_run_after_a_check_finds_its_tokens(
    many: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.datasets import Encoder, prepare
    from engine.datasets.token_cache import tokens_folder

    config = RunConfig(
        model_name_or_path=str(model_folder),
        dataset="mine",
        dataset_dir=str(many),
        val_size=0.1,
        packing=True,
        cutoff_len=256,
    )
    encoder = Encoder(model_folder, config)
    plain = prepare(replace(config, overwrite_cache=True), encoder)
    shutil.rmtree(tokens_folder())
    made = counted(monkeypatch)
    run = start_check("mine", config, lambda: None)
    assert run.join(60) and run.state.problem == ""
    assert run.state.found is not None and run.state.found.unusable == 1
    # Every row became tokens once, for the check and for the run.
    assert sum(made) == 699
    kept = prepare(config, encoder)
    assert sum(made) == 699 and any("from the cache" in note for note in kept.notes)
    assert [dict(row) for row in kept.train] == [dict(row) for row in plain.train]
    assert [dict(row) for row in kept.eval] == [dict(row) for row in plain.eval]
    assert (kept.counts, kept.dropped) == (plain.counts, plain.dropped)


def test_a_second_check_of_the_same_rows_makes_nothing_anew(
    many: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(**changes: object) -> CheckState:
        values = {"dataset": "mine", "dataset_dir": str(many), "val_size": 0.1, **changes}
        run = start_check(
            "mine", RunConfig(model_name_or_path=str(model_folder), **values), lambda: None
        )
        assert run.join(60) and run.state.problem == ""
        return run.state

    made = counted(monkeypatch)
    first = check()
    once = sum(made)
    again = check()
    assert sum(made) == once and (again.found, again.alike) == (first.found, first.alike)
    # What the check does not depend on changes nothing; what it does is checked anew.
    assert check(val_size=0.2).found == first.found and sum(made) == once
    assert check(cutoff_len=64).found != first.found and sum(made) > once
    twice = sum(made)
    text = (many / "mine.json").read_text()
    (many / "mine.json").write_text(text.replace("glass 7", "water 7"))
    check()
    assert sum(made) > twice


def test_it_says_where_only_the_first_rows_are_compared(
    many: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_checks, "NEAR_ROWS", 200)
    config = RunConfig(
        model_name_or_path=str(model_folder), dataset="mine", dataset_dir=str(many), val_size=0.1
    )
    run = start_check("mine", config, lambda: None)
    assert run.join(60)
    assert run.state.limits == (
        "Only the first 200 of the 700 rows of mine were compared with each other.",
    )
    assert run.state.alike is not None and all(one.row <= 200 for one in run.state.alike)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the encoder makes tokens of."""
    from engine.datasets import Encoder

    made: list[int] = []
    real = Encoder.encode_batch

    def encode_batch(self: Encoder, examples: Any, dataset: str = "") -> Any:
        made.append(len(examples))
        return real(self, examples, dataset)

    monkeypatch.setattr(Encoder, "encode_batch", encode_batch)
    return made
