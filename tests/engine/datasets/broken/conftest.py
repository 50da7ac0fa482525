"""Every broken data set as a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cases import Case, cases
from .more import more_cases

CASES = (*cases(), *more_cases())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=[case.name for case in CASES])


@pytest.fixture
def broken(case: Case, tmp_path: Path) -> Iterator[Path]:
    """The folder of a broken set."""
    if case.name == "locked" and os.geteuid() == 0:
        pytest.skip("root reads any file")
    yield case.write(tmp_path / "sets")
    for path in (tmp_path / "sets").iterdir():
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
