"""What a log says of a disk that takes no more."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from engine import faults
from engine.runs.eventlog import LineFile


def test_a_line_that_a_full_disk_refuses_names_its_file() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError) as caught:
        LineFile(full).append("{}")
    assert caught.value.errno == errno.ENOSPC
    assert faults.explain(caught.value).where.startswith("/dev/full, ")
