"""Files are replaced whole, and stay as private as they were."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from engine.runs.atomic import write_atomic


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "dataset_info.json"
    path.write_text("{}", encoding="utf-8")
    path.chmod(mode)
    write_atomic(path, '{"mine": {}}')
    assert path.read_text(encoding="utf-8") == '{"mine": {}}'
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_is_readable_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    write_atomic(path, b"1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]


def test_what_can_not_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1
