"""What a job checks before the libraries are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import read_flat
from engine.problem import BadInput
from engine.worker import ExportJob, perform


def test_a_folder_that_is_taken_is_told_before_the_libraries_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the libraries were loaded first")

    monkeypatch.setattr(perform, "load_libraries", load)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    flat = {"model_name_or_path": "demo", "export_dir": str(tmp_path / "taken")}
    config = read_flat(flat).config
    with pytest.raises(BadInput, match="holds files already"):
        perform.export(ExportJob(config), None, None)
