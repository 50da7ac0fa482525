"""`finetui datasets find`, and `show` of a row far behind, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def finetui(tmp_path: Path) -> Run:
    folders = {f"FINETUI_{name}": str(tmp_path / name) for name in ("CACHE", "CONFIG", "STATE")}
    env = {**os.environ, **folders}
    sets = tmp_path / "sets"
    sets.mkdir()
    (sets / "dataset_info.json").write_text('{"a": {"file_name": "a.jsonl"}}')
    with (sets / "a.jsonl").open("w") as file:
        for number in range(30_000):
            talk = "in Paris,\x1b[31m 你好" if number % 10_000 == 7 else "somewhere " * 20
            row = {"instruction": f"Question {number}", "output": talk}
            file.write(json.dumps(row, ensure_ascii=number % 2 == 0) + "\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tui", "datasets", *words, "--dataset-dir", str(sets)]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)

    return run


def test_rows_that_hold_a_text_are_printed_with_their_numbers(finetui: Run) -> None:
    found = finetui("find", "a", "paris")
    assert found.returncode == 0, found.stderr
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["8", "10,008", "20,008"]
    assert "in Paris,\\x1b[31m 你好" in found.stdout and "\x1b" not in found.stdout
    assert "3 rows of 30,000 in a" in found.stderr
    few = finetui("find", "a", r"question \d*9$", "--regex", "--most", "2")
    assert [line.split()[0] for line in few.stdout.splitlines()] == ["10", "20"]
    assert "--most 0 prints all" in few.stderr


def test_nothing_found_is_1_and_what_cant_be_looked_for_is_2(finetui: Run) -> None:
    none = finetui("find", "a", "nowhere at all")
    assert none.returncode == 1 and none.stdout == "" and "0 rows of 30,000" in none.stderr
    wrong = finetui("find", "a", "(", "--regex")
    assert wrong.returncode == 2 and "not a regular expression" in wrong.stderr
    assert finetui("find", "b", "x").returncode == 2


def test_a_row_far_behind_is_shown_through_the_index(finetui: Run, tmp_path: Path) -> None:
    shown = finetui("show", "a", "--row", "29999")
    assert shown.returncode == 0, shown.stderr
    assert "a, row 29,999 of 30,000" in shown.stdout and "Question 29998" in shown.stdout
    assert list((tmp_path / "CACHE" / "rows").glob("*.idx"))
    beyond = finetui("show", "a", "--row", "30001")
    assert beyond.returncode == 2 and "a has 30,000 rows; there is no row 30,001." in beyond.stderr


def test_rows_that_meet_conditions_are_printed(finetui: Run, model_folder: Path) -> None:
    found = finetui("find", "a", "paris", "--where", "chars < 40", "--most", "2")
    assert found.returncode == 0, found.stderr
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["8", "10,008"]
    cut = finetui("find", "a", "--where", "cut", "--cutoff-len", "20", "--model",
                  str(model_folder), "--most", "3")  # fmt: skip
    assert cut.returncode == 0, cut.stderr
    lines = cut.stdout.splitlines()
    assert len(lines) == 3 and "Question" in lines[0]
    wrong = finetui("find", "a", "--where", "token>3")
    assert wrong.returncode == 2 and "Did you mean tokens?" in wrong.stderr
    assert finetui("find", "a").returncode == 2
