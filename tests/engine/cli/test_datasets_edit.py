"""`finetui datasets edit`, `remove`, `copy`: entries that stand, changed only where it is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = '{\n  "a": {"file_name": "rows.json"},\n  "mine": {"file_name": "rows.json"}\n}\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [{"question": f"q{n}", "reply": f"a{n}"} for n in range(3)]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(TEXT)
    return tmp_path


def finetui(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = {f"FINETUI_{name}": str(home / name.lower()) for name in ("CONFIG", "CACHE", "STATE")}
    command = [sys.executable, "-c", "import sys; from engine.cli import main; "
               "sys.exit(main(sys.argv[1:]))", "datasets", *words]  # fmt: skip
    return subprocess.run(
        command, cwd=home, env={**os.environ, **places}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_edit_mends_columns_and_renames(home: Path) -> None:
    done = finetui(home, "edit", "mine", "response=reply", "--dataset-dir", "sets")
    assert done.returncode == 0
    assert "none of the first 3 rows can be used so" in done.stderr, "the prompt is missing"
    done = finetui(home, "edit", "mine", "prompt=question", "name=good", "--dataset-dir", "sets")
    assert done.returncode == 0 and "can be used" not in done.stderr
    registry = json.loads((home / "sets" / "dataset_info.json").read_text())
    assert list(registry) == ["a", "good"]
    assert registry["good"]["columns"] == {"response": "reply", "prompt": "question"}
    shown = finetui(home, "show", "good", "--dataset-dir", "sets")
    assert "q0" in shown.stdout and "a0" in shown.stdout
    done = finetui(home, "edit", "good", "formating=alpaca", "--dataset-dir", "sets")
    assert done.returncode == 2 and "Did you mean formatting?" in done.stderr
    done = finetui(home, "edit", "good", "nonsense", "--dataset-dir", "sets")
    assert done.returncode == 2 and "KEY=VALUE" in done.stderr


@pytest.mark.slow
def test_remove_asks_and_takes_the_entry_only(home: Path) -> None:
    done = finetui(home, "remove", "a", "--dataset-dir", "sets")
    assert done.returncode == 0 and "add --yes" in done.stderr
    assert (home / "sets" / "dataset_info.json").read_text() == TEXT
    done = finetui(home, "remove", "a", "--dataset-dir", "sets", "--yes")
    assert done.returncode == 0 and "its files stay" in done.stderr
    assert (home / "sets" / "dataset_info.json").read_text() == (
        '{\n  "mine": {"file_name": "rows.json"}\n}\n'
    )
    assert (home / "sets" / "rows.json").exists()


@pytest.mark.slow
def test_a_bundled_set_is_changed_as_a_copy(home: Path) -> None:
    done = finetui(home, "edit", "identity", "num_samples=3")
    assert done.returncode == 2 and "finetui datasets copy identity" in done.stderr
    assert finetui(home, "copy", "identity", "who").returncode == 0
    assert finetui(home, "edit", "who", "num_samples=3").returncode == 0
    shown = finetui(home, "show", "who")
    assert shown.returncode == 0 and "{{name}}" not in shown.stdout
