"""What a setting needs is an extra of this project, and is looked for by its modules."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from engine import installed
from engine.config import settings

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["optional-dependencies"]
NEEDED = {info.setting.needs for info in settings().values()} - {""}


def test_each_needed_extra_can_be_installed_and_looked_for() -> None:
    assert set(EXTRAS) >= NEEDED
    assert set(installed._MODULES) == NEEDED


def test_all_of_an_extra_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "is_installed", lambda module: module != "soxr")
    assert not installed.has_extra("sound") and installed.has_extra("video")


def test_torch_is_known_by_its_file_as_by_its_package() -> None:
    from importlib import metadata

    assert installed.torch_is_for_cpus() == metadata.version("torch").endswith("+cpu")
