"""A dry run stops at what the run would stop at: a model or a checkpoint that is not there, rows
that the model can not read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli.dry_run import describe
from engine.cli.output import output
from engine.config import read_flat
from engine.problem import BadInput

ROWS = [
    {"instruction": f"Say {i}", "output": "yes", "chosen": "yes", "rejected": "no"}
    for i in range(9)
]
SEEN = [{"instruction": "<image>What is it?", "output": "A dot.", "images": ["dot.png"]}]
SETS = {
    "mine": {"file_name": "mine.json"},
    "pairs": {"file_name": "mine.json", "ranking": True},
    "seen": {
        "file_name": "seen.json",
        "columns": {"prompt": "instruction", "response": "output", "images": "images"},
    },
}  # fmt: skip
REWARDED = {"stage": "ppo", "reward_model_type": "full"}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    folder: Path = save_llama(tmp_path_factory.mktemp("tiny"))
    return folder


@pytest.fixture
def said_by(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a dry run with these settings prints."""
    for name, value in (("mine", ROWS), ("seen", SEEN), ("dataset_info", SETS)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))

    def said(**changes: Any) -> str:
        flat = {
            "model_name_or_path": str(model_folder),
            "dataset": "mine",
            "dataset_dir": str(tmp_path),
            "do_train": True,
            "output_dir": str(tmp_path / "run"),
        }
        stream = io.StringIO()
        monkeypatch.setattr(output(), "out", stream)
        describe(read_flat({**flat, **changes}).config)
        return stream.getvalue()

    return said


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"dataset": "seen"}, "model_name_or_path"),
        ({"resume_from_checkpoint": "nowhere"}, "resume_from_checkpoint"),
        ({"stage": "ppo", "reward_model": "nowhere"}, "reward_model"),
        ({**REWARDED, "reward_model": "/nowhere"}, "reward_model"),
        ({"stage": "dpo", "dataset": "pairs", "ref_model": "./nowhere"}, "ref_model"),
    ],
)
def test_what_the_run_would_stop_at(changes: dict[str, Any], setting: str, said_by: Any) -> None:
    with pytest.raises(BadInput) as refused:
        said_by(**changes)
    assert refused.value.problem.setting == setting
    assert refused.value.problem.hint


def test_a_model_beside_that_a_hub_has_is_named(said_by: Any, model_folder: Path) -> None:
    assert "\nreward model          someone/judge: " in said_by(
        **REWARDED, reward_model="someone/judge"
    )
    said = said_by(stage="dpo", dataset="pairs", ref_model=str(model_folder))
    assert f"\nreference             {model_folder.name}\n" in said
