"""`list`, and the folder of sets given before the command that it is for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli.commands import run
from engine.cli.output import output


@pytest.fixture
def said_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command prints that ends well, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def said(*words: str) -> str:
        stream = io.StringIO()
        monkeypatch.setattr(output(), "out", stream)
        monkeypatch.setattr(output(), "divert", lambda: None)  # the tests' own descriptors
        assert run(list(words)) == 0
        return stream.getvalue()

    return said


@pytest.mark.parametrize("what", ["datasets", "runs", "templates"])
def test_list_says_what_the_bare_command_says(what: str, said_by: Any) -> None:
    assert said_by(what, "list") == said_by(what) != ""


def test_a_folder_given_before_the_command_is_the_commands(said_by: Any, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "dataset_info.json").write_text('{"mine": {"file_name": "a.json"}}')
        rows = [{"instruction": f"Question {folder}", "output": "yes"}]
        (tmp_path / folder / "a.json").write_text(json.dumps(rows))
    assert "Question one" in said_by("datasets", "--dataset-dir", "one", "show", "mine")
    later = said_by("datasets", "--dataset-dir", "one", "show", "mine", "--dataset-dir", "two")
    assert "Question two" in later
    said_by("datasets", "--dataset-dir", "one", "remove", "mine", "--yes")
    assert (tmp_path / "one" / "dataset_info.json").read_text().strip() == "{}"


def test_a_run_that_is_not_there_names_a_near_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder = tmp_path / "saves" / "demo" / "lora" / "first-try"
    run_folder.mkdir(parents=True)
    line = {"current_steps": 1, "total_steps": 2, "loss": 1.0}
    (run_folder / "trainer_log.jsonl").write_text(json.dumps(line) + "\n")
    monkeypatch.chdir(tmp_path)
    stream = io.StringIO()
    monkeypatch.setattr(output(), "err", stream)
    assert run(["runs", "show", "frist-try"]) == 2
    assert "Did you mean first-try?" in stream.getvalue()
    assert run(["runs", "show", "xyz"]) == 2
    assert "finetui runs` lists" in stream.getvalue()
