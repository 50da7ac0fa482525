"""`finetui datasets add`: the detected entry is printed, and written only when that is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rows = [{"question": f"q{n}", "reply": f"a{n}", "best": "b"} for n in range(3)]
    (tmp_path / "my rows.json").write_text(json.dumps(rows))
    return tmp_path


def finetui(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = {f"FINETUI_{name}": str(home / name.lower()) for name in ("CONFIG", "CACHE", "STATE")}
    command = [sys.executable, "-c", "import sys; from engine.cli import main; "
               "sys.exit(main(sys.argv[1:]))", "datasets", *words]  # fmt: skip
    return subprocess.run(
        command, cwd=home, env={**os.environ, **places}, capture_output=True, text=True, timeout=120
    )


def entries(folder: Path) -> dict:
    path = folder / "dataset_info.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_the_entry_is_printed_and_written_with_yes(home: Path) -> None:
    done = finetui(home, "add", "my rows.json")
    assert done.returncode == 0 and "add --yes" in done.stderr
    assert entries(home / "config" / "sets") == {}
    printed, _end = json.JSONDecoder().raw_decode(done.stdout)
    assert printed == {
        "my_rows": {
            "file_name": str(home / "my rows.json"),
            "formatting": "alpaca",
            "columns": {"prompt": "question", "response": "reply"},
        }
    }
    assert "row 2" in done.stdout and "a1" in done.stdout
    assert "note: Not used: best." in done.stderr
    done = finetui(home, "add", "my rows.json", "--yes", "--name", "mine",
                   "--column", "response=best", "--num-samples", "2")  # fmt: skip
    assert done.returncode == 0 and "mine is written into" in done.stderr
    written = entries(home / "config" / "sets")["mine"]
    assert written["columns"]["response"] == "best" and written["num_samples"] == 2
    shown = finetui(home, "show", "mine")
    assert shown.returncode == 0 and "q0" in shown.stdout and "\n  b" in shown.stdout
    again = finetui(home, "add", "my rows.json", "--yes", "--name", "mine")
    assert again.returncode == 2 and "There is a set 'mine' already" in again.stderr
    assert (
        finetui(home, "add", "my rows.json", "--yes", "--name", "mine", "--replace").returncode == 0
    )


def test_into_a_folder_and_copied(home: Path) -> None:
    (home / "sets").mkdir()
    (home / "sets" / "dataset_info.json").write_text('{"old": {"file_name": "old.json"}}')
    there = ("--dataset-dir", "sets", "--yes", "--name", "mine")
    out = finetui(home, "add", "my rows.json", *there)
    assert out.returncode == 2 and "lies outside the dataset folder" in out.stderr
    assert finetui(home, "add", "my rows.json", *there, "--copy").returncode == 0
    assert list(entries(home / "sets")) == ["old", "mine"]
    assert (home / "sets" / "my rows.json").read_bytes() == (home / "my rows.json").read_bytes()


def test_a_file_of_the_folder_data_goes_into_its_registry(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "dataset_info.json").write_text("{}")
    (home / "my rows.json").rename(home / "data" / "mine.json")
    assert finetui(home, "add", "data/mine.json", "--yes").returncode == 0
    assert entries(home / "data")["mine"]["file_name"] == "mine.json"
    assert entries(home / "config" / "sets") == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.json",), "There is no file"),
        (("my rows.json", "--column", "answer=x"), "is not understood"),
        (("my rows.json", "--format", "chatml"), "is not known"),
        (("my rows.json", "--format", "openai"), "None of the first 3 rows can be used so"),
        (("my rows.json", "--copy"), "--dataset-dir"),
    ],
)
def test_what_cannot_be_added_is_told(words: tuple[str, ...], said: str, home: Path) -> None:
    done = finetui(home, "add", *words, "--yes")
    assert done.returncode == 2 and said in done.stderr
    assert entries(home / "config" / "sets") == {}


def test_a_part_of_a_folder_is_looked_at_and_written(home: Path) -> None:
    for place in ("en/train", "en/test", "de/train"):
        path = home / "mine" / f"{place}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"question": place, "answer": "a"}) + "\n")
    done = finetui(home, "add", "mine", "--subset", "en", "--split", "test", "--yes")
    assert done.returncode == 0 and "en/test" in done.stdout
    entry = entries(home / "config" / "sets")["mine"]
    assert (entry["subset"], entry["split"]) == ("en", "test")
    shown = finetui(home, "show", "mine")
    assert shown.returncode == 0 and "en/test" in shown.stdout and "train" not in shown.stdout
    refused = finetui(home, "add", "mine", "--subset", "fr", "--yes")
    assert refused.returncode == 2 and "There is no folder 'fr' in mine" in refused.stderr
