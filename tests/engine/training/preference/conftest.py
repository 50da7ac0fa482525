"""Separable pairs, and dpo runs on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.training import run_training

GOOD = ["sun", "light", "warm", "calm"]
BAD = ["rain", "dark", "cold", "loud"]


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Separable pairs: the better answers are made of other words than the worse ones."""
    folder = tmp_path_factory.mktemp("pairs")

    def row(i: int, name: str) -> dict[str, str]:
        return {
            "instruction": f"{name} {i}",
            "chosen": " ".join(GOOD[(i + j) % 4] for j in range(1 + i % 3)),
            "rejected": " ".join(BAD[(i * 3 + j) % 4] for j in range(1 + (i + 1) % 3)),
        }

    info = {}
    for name, count in (("pairs", 22), ("held", 9)):
        rows = [row(i, name) for i in range(count)]
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        info[name] = {
            "file_name": f"{name}.json",
            "ranking": True,
            "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
        }
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


@pytest.fixture
def make_dpo(make_config, pairs_folder: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        return make_config(
            **{
                "stage": "dpo",
                "dataset": "pairs",
                "dataset_dir": str(pairs_folder),
                "lora_dropout": 0.0,
                **changes,
            }
        )

    return make


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainers that runs build."""
    from engine.training.stages import dpo

    original = dpo.build_trainer
    found: list[Any] = []

    def build(parts: Any) -> Any:
        found.append(original(parts))
        return found[-1]

    monkeypatch.setattr(dpo, "build_trainer", build)
    return found


@pytest.fixture
def run(make_dpo, make_session, tmp_path: Path) -> Callable[..., Any]:
    """Trains into `tmp_path / name`; returns the listener."""

    def train(name: str, **changes: Any) -> Any:
        session, listener = make_session(tmp_path / name)
        run_training(make_dpo(**changes), session)
        return listener

    return train
