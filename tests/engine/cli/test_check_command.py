"""`finetui datasets check` as a process of its own: what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
Run = Callable[..., subprocess.CompletedProcess[str]]
GOOD = {"instruction": "What is light?", "output": "A wave."}
TEMPLATE = """
register_template(
    name="olmo",
    format_user=StringFormatter(slots=["<ask>{{content}}</ask><say>"]),
    format_assistant=StringFormatter(slots=["{{content}}</say>"]),
    stop_words=["</say>"],
)
"""


@pytest.fixture
def check(tmp_path: Path, model_folder: Path) -> Run:
    """`check(rows or text, *words, file=…)`: the command over a set `mine` of these rows."""
    kept = tmp_path / "cache" / "templates" / "llamafactory-0.9.5" / "template.py"
    kept.parent.mkdir(parents=True)
    kept.write_text(TEMPLATE)
    folders = {name: str(tmp_path / name.lower()) for name in ("CACHE", "CONFIG", "STATE")}
    env = {**os.environ, "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1",
           **{f"FINETUI_{name}": folder for name, folder in folders.items()}}  # fmt: skip

    def run(
        content: Any,
        *words: str,
        file: str = "mine.json",
        model: str = "",
        name: str = "mine",
        **entry: Any,
    ) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "sets"
        folder.mkdir(exist_ok=True)
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / file).write_text(text, encoding="utf-8")
        registry = {"mine": {"file_name": file, **entry}}
        (folder / "dataset_info.json").write_text(json.dumps(registry))
        named = ["--model", model or str(model_folder)]
        command = [sys.executable, "-m", "tui", "datasets", "check", name, "--dataset-dir"]
        return subprocess.run(
            [*command, str(folder), *named, *words],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_a_usable_set_is_0_with_its_lengths(check: Run) -> None:
    rows = [{**GOOD, "instruction": f"What is {n}?"} for n in range(10)]
    done = check([*rows, rows[3]])
    assert done.returncode == 0 and done.stderr == ""
    first, *rest = done.stdout.splitlines()
    assert first.startswith("mine: 11 of 11 rows can be used; 1 row repeats an earlier one")
    said = "\n".join(rest)
    assert "1 row is the same as an earlier one. Row 11" in said and "longest" in said
    assert "█" in said and "of them trained" in said


def test_some_unusable_rows_are_1_and_named(check: Run) -> None:
    done = check([GOOD, {**GOOD, "output": None}, "no row", GOOD])
    assert done.returncode == 1 and done.stderr == ""
    assert "2 of 4 rows can be used; 2 can't, first row 2: there is no answer" in done.stdout
    assert "row 3: the row is text, not an object" in done.stdout
    assert check([{"other": "x"}]).returncode == 1


@pytest.mark.parametrize(
    ("content", "file", "said"),
    [
        ("[{", "mine.json", "line 1"),
        (None, "../mine.json", "lies outside the dataset folder"),
        (None, "/etc/passwd", "lies outside the dataset folder"),
        (None, "gone.json", "There is no file"),
        ("", "mine.jsonl", "no rows"),
    ],
)
def test_what_cannot_be_read_is_2(check: Run, content: Any, file: str, said: str) -> None:
    done = check(content, file=file)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr and "Traceback" not in done.stderr


def test_near_rows_and_leakage_are_told(check: Run, tmp_path: Path) -> None:
    tale = "once there was a king who had three daughters and a very old and very wise dog"
    rows = [GOOD, {"instruction": "Go on.", "output": tale + " at home"},
            {"instruction": "Go on.", "output": tale + " at sea"}]  # fmt: skip
    done = check(rows, "--against", "mine")
    assert done.returncode == 0
    assert "row 3 is 90% like row 2" in done.stdout
    assert "row 1 of mine is 100% like row 1 of mine" in done.stdout
    assert "nearly" not in check(rows, "--no-near").stdout


def test_a_line_of_json_for_scripts(check: Run) -> None:
    rows = [{**GOOD, "instruction": f"What is {n}?"} for n in range(4)]
    done = check([*rows, rows[0], {"instruction": "q"}], "--json")
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert done.returncode == 1 and told["status"] == "bad rows" and told["dataset"] == "mine"
    assert (told["rows"], told["usable"], told["unusable"]) == (6, 5, 1)
    assert told["problems"][0]["row"] == 6 and "no answer" in told["problems"][0]["reason"]
    assert told["duplicates"] == [5] and told["trained_tokens"] > 0 and told["near"] == []
    # The second time it is what was kept, to the letter.
    assert check(None, "--json").stdout == done.stdout
    broken = check("[{", "--json")
    (line,) = broken.stdout.splitlines()
    assert broken.returncode == 2 and json.loads(line)["status"] == "unreadable"
    assert "line 1" in json.loads(line)["problem"]["where"]


def test_several_sets_are_each_told(check: Run, tmp_path: Path) -> None:
    done = check([GOOD, GOOD], name="mine,gone,mine")
    assert done.returncode == 2 and "There is no dataset 'gone'" in done.stderr
    assert done.stdout.count("mine: 2 of 2 rows can be used") == 2
    assert done.stdout.splitlines()[-1] == "3 sets: 4 of 4 rows can be used."
    done = check(None, "--json", name="mine,gone")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["status"] for one in told] == ["warnings", "unreadable"] and done.returncode == 2


def test_a_named_template_writes_the_rows(check: Run) -> None:
    plain, named = check([GOOD]).stdout, check([GOOD], "--template", "olmo").stdout
    assert plain.splitlines()[0] == named.splitlines()[0]
    assert "tokens a row" in named and plain != named
    refused = check([GOOD], "--template", "nonsense")
    assert refused.returncode == 2 and "nonsense" in refused.stderr


def test_without_the_demo_model_rows_are_checked_all_the_same(check: Run) -> None:
    done = check([GOOD, {"instruction": "q"}], model="demo")
    assert done.returncode == 1 and "1 of 2 rows can be used" in done.stdout
    assert "nothing is tokenised" in done.stderr and "tokens a row" not in done.stdout


def test_torch_is_not_imported(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps([GOOD] * 3))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    look = (
        "import sys; from engine.cli import main\n"
        f"code = main(['datasets', 'check', 'mine', '--dataset-dir', {str(tmp_path)!r}, "
        f"'--model', {str(model_folder)!r}])\n"
        "assert code == 0 and 'rensa' in sys.modules\n"
        "found = {'torch', 'transformers', 'scipy'} & sys.modules.keys()\n"
        "assert not found, found\n"
    )
    env = {**os.environ, "FINETUI_STATE": str(tmp_path / "s"), "FINETUI_CACHE": str(tmp_path / "c")}
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_dry_run_stops_at_bad_rows_where_the_person_wants_it(
    check: Run, tmp_path: Path, model_folder: Path
) -> None:
    check([GOOD, {"instruction": "q"}])
    env = {**os.environ, **{f"FINETUI_{name}": str(tmp_path / name.lower())
                            for name in ("CACHE", "CONFIG", "STATE")}}  # fmt: skip
    said = {}
    for choice in ("skip", "stop"):
        words = [f"model_name_or_path={model_folder}", "dataset=mine", f"bad_rows={choice}",
                 f"dataset_dir={tmp_path / 'sets'}", "stage=sft", "do_train=true"]  # fmt: skip
        said[choice] = subprocess.run(
            [sys.executable, "-m", "tui", "train", *words, "--dry-run"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert said["skip"].returncode == 0 and "row 2: there is no answer" in said["skip"].stdout
    assert said["stop"].returncode == 2 and "bad_rows is stop. Row 2 of mine" in said["stop"].stderr
