"""Files that are worth having but not needed: whatever lies in them, nothing falls over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.runs.json_object import read_object
from engine.runs.results import write_results

DAMAGED = {
    "half": b'{"a": 1',
    "nothing": b"",
    "no object": b"[1, 2]",
    "null": b"null",
    "not utf-8": b'{"a": "\xff"}',
}


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"a": "身份"}', encoding="utf-8")
    assert read_object(tmp_path / "one.json") == {"a": "身份"}
    assert read_object(tmp_path / "absent.json") == {}
    assert read_object(tmp_path) == {}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_empty(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "one.json").write_bytes(raw)
    assert read_object(tmp_path / "one.json") == {}


def _demo(path: Path) -> Any:
    from engine.models.demo import MARKER, demo_folder, demo_ready

    _put(demo_folder() / MARKER, path)
    return demo_ready()


def _best(path: Path) -> Any:
    from engine.worker.questions import best_step

    _put(path.parent / "run" / "trainer_state.json", path)
    return best_step(path.parent / "run")


def _ids(path: Path) -> Any:
    from engine.training.trackers import IDS, read_ids

    _put(path.parent / IDS, path)
    return read_ids(path.parent)


def _put(place: Path, path: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(path.read_bytes())


@pytest.mark.parametrize("read", [_demo, _best, _ids])
@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_who_reads_one_goes_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, read: Callable[[Path], Any]
) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(raw)
    assert not read(damaged)


def test_results_of_several_jobs_lie_together(tmp_path: Path) -> None:
    (tmp_path / "all_results.json").write_text("[")  # damaged: what is new is written anyway
    write_results(tmp_path, "eval_results.json", {"eval_身份_loss": 1.0})
    write_results(tmp_path, "predict_results.json", {"predict_samples": 3})
    text = (tmp_path / "all_results.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"eval_身份_loss": 1.0, "predict_samples": 3}
    assert "身份" in text
