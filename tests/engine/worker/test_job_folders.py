"""A job's folder that can't be had is bad input, told with its setting."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine.config import RunConfig
from engine.problem import BadInput
from engine.runs import process
from engine.worker import TrainJob
from engine.worker.places import folder_of


def test_a_folder_that_can_not_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place, why in (("file/run", "Not a directory"), ("a" * 300, "File name too long")):
        with pytest.raises(BadInput) as caught:
            folder_of(TrainJob(RunConfig(output_dir=str(tmp_path / place))))
        assert why in caught.value.problem.what
        assert caught.value.problem.setting == "output_dir"
        assert caught.value.problem.where == str(tmp_path / place)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EROFS, BadInput), (errno.EACCES, BadInput), (errno.ENOSPC, OSError)]
)
def test_a_folder_that_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def claim(folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder / process.LOCK_NAME))

    monkeypatch.setattr(process, "claim", claim)
    with pytest.raises(kind, match=os.strerror(number)):
        folder_of(TrainJob(RunConfig(output_dir=str(tmp_path / "run"))))
