"""The published demonstration sets: each loads, is checked, and trains a few steps in its stage."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.datasets import Encoder, check_dataset, list_datasets, open_rows
from engine.events import JobFailed, StepLogged
from engine.training import run_training

CORPORA = Path(__file__).parents[4] / "shared/corpora"
STAGES = {
    "identity": ("sft",),
    "alpaca_en_demo": ("sft", "pt"),
    "glaive_toolcall_en_demo": ("sft",),
    "mllm_demo": ("sft",),
    "dpo_en_demo": ("dpo", "rm"),
    "kto_en_demo": ("kto",),
    "c4_demo": ("pt",),
}
pytestmark = pytest.mark.skipif(
    not CORPORA.is_dir(), reason="the published demonstration sets are not beside the project"
)


def test_every_published_set_is_tried_here() -> None:
    assert {entry.name for entry in list_datasets(CORPORA)} == STAGES.keys()


@pytest.mark.parametrize(
    ("name", "stage"), [(name, stage) for name, stages in STAGES.items() for stage in stages]
)
def test_loads_checks_and_trains(
    name: str,
    stage: str,
    model_folder: Path,
    vision_folder: Callable[[str], Path],
    tmp_path: Path,
    make_session: Callable[..., Any],
) -> None:
    folder = vision_folder("qwen2_vl") if name == "mllm_demo" else model_folder
    config = read_flat(
        {
            "model_name_or_path": str(folder),
            "stage": stage,
            "dataset": name,
            "dataset_dir": str(CORPORA),
            "finetuning_type": "lora",
            "do_train": True,
            "cutoff_len": 2048 if name == "mllm_demo" else 256,
            "image_max_pixels": 56 * 56,
            "max_samples": 8,
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "memory_reserve_gb": 0,
        },
        "corpora",
    ).config
    rows = open_rows(name, CORPORA)
    found = check_dataset(rows, Encoder(folder, config), limit=8, stage=stage)
    assert (found.usable, found.unusable) == (min(8, len(rows)), 0), found.verdict
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    assert not listener.of(JobFailed)
    logged = listener.of(StepLogged)
    assert [event.step for event in logged] == [1, 2]
    assert all(math.isfinite(event.loss) for event in logged)


@pytest.mark.parametrize("name", STAGES)
def test_every_row_of_them_can_be_read(name: str) -> None:
    found = check_dataset(open_rows(name, CORPORA), None)
    assert found.usable == found.rows > 0, found.verdict
