"""Places on disk: what happens where one of them can't be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.paths import program_log


def test_the_log_is_in_the_state_folder_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path / "new" / "state"))
    log = program_log()
    assert log == tmp_path / "new" / "state" / "finetui.log"
    assert log.stat().st_mode & 0o777 == 0o600


def test_where_nothing_can_be_written_the_log_goes_elsewhere_and_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    # Below a file no folder can be made, whoever asks.
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path / "file" / "state"))
    log = program_log()
    assert log.parent.parent == spare and program_log() == log
    log.write_text("written")
