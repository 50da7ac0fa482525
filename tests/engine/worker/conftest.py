"""Engines with small jobs in place of the real ones, in a folder of the test's own."""

from __future__ import annotations

import pytest

from tests.engine.worker.watched import Watched


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path / "state"))


@pytest.fixture
def watched(own_folder):
    """Makes engines whose jobs are functions, by kind (`train`, `evaluate`, `chat`)."""
    engines = []

    def make(**performers):
        engines.append(Watched(**performers))
        return engines[-1]

    yield make
    for one in engines:
        assert one.engine.shutdown(save=False, deadline=30)
