"""The field's published demo sets train in the stages they are for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.events import StepLogged
from engine.training import run_training

CORPORA = Path(__file__).parents[3].parent / "shared" / "corpora"
FOR = [
    ("c4_demo", "pt"),
    ("identity", "sft"),
    ("alpaca_en_demo", "sft"),
    ("glaive_toolcall_en_demo", "sft"),
    ("dpo_en_demo", "rm"),
    ("dpo_en_demo", "dpo"),
    ("kto_en_demo", "kto"),
    ("alpaca_en_demo", "grpo"),
]


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the published sets are not here")
@pytest.mark.parametrize(("name", "stage"), FOR, ids=["-".join(pair) for pair in FOR])
def test_a_published_set_trains_in_its_stage(
    name: str,
    stage: str,
    reads_as_the_demo: Path,
    tmp_path: Path,
    make_session: Callable[..., Any],
) -> None:
    own = {"reward_funcs": "length", "max_new_tokens": 8} if stage == "grpo" else {}
    config = read_flat(
        {
            "model_name_or_path": str(reads_as_the_demo),
            "stage": stage,
            "finetuning_type": "lora",
            "dataset": name,
            "dataset_dir": str(CORPORA),
            "max_samples": 24,
            "cutoff_len": 128,
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "memory_reserve_gb": 0,
            "do_train": True,
            **own,
        },
        "published",
    ).config
    session, listener = make_session(tmp_path / "run")
    result = run_training(config, session)
    assert result["steps"] == 3
    assert all(math.isfinite(event.loss) for event in listener.of(StepLogged))
