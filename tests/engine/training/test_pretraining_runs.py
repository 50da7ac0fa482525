"""Pre-training as whole runs: packed rows, perplexity, exact resumes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.events import CheckpointSaved, Evaluated, LogLine, StepLogged
from engine.training import run_training
from tests.engine.training.stopping import stopped_at

COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    rows = [
        {"text": " ".join(COLOURS[(i + j * (1 + i % 3)) % 4] for j in range(3 + i % 9))}
        for i in range(60)
    ]
    (folder / "texts.json").write_text(json.dumps(rows))
    talk = [{"instruction": f"say {row['text']}", "output": row["text"]} for row in rows]
    (folder / "talks.json").write_text(json.dumps(talk))
    registry = {
        "texts": {"file_name": "texts.json", "columns": {"prompt": "text"}},
        "talks": {"file_name": "talks.json"},
    }
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    return folder


@pytest.fixture
def pretrain(make_config: Any, make_session: Any, texts: Path, tmp_path: Path) -> Any:
    """Run a pre-training; returns the listener and the result."""

    def go(name: str = "run", **changes: Any) -> tuple[Any, dict[str, Any]]:
        session, listener = make_session(tmp_path / name)
        settings = {
            "stage": "pt",
            "dataset": "texts",
            "dataset_dir": str(texts),
            "cutoff_len": 64,
            "finetuning_type": "full",
            "save_strategy": "no",
            "gradient_accumulation_steps": 1,
            **changes,
        }
        return listener, run_training(make_config(**settings), session)

    return go


def test_pretraining_lowers_held_out_perplexity(pretrain: Any) -> None:
    listener, result = pretrain(
        num_train_epochs=6, val_size=12, do_eval=True, eval_strategy="epoch", eval_on_start=True
    )
    evaluations = listener.of(Evaluated)
    first, last = evaluations[0], evaluations[-1]
    print(
        f"held-out perplexity {first.metrics['perplexity']:.1f} -> {last.metrics['perplexity']:.2f}"
    )
    assert last.metrics["perplexity"] * 10 < first.metrics["perplexity"]
    for event in evaluations:
        assert event.metrics["perplexity"] == pytest.approx(math.exp(event.loss))
    for event in listener.of(StepLogged):
        assert event.watched["perplexity"] == pytest.approx(math.exp(event.loss))
    assert json.loads((Path(result["folder"]) / "eval_results.json").read_text())[
        "eval_perplexity"
    ] == pytest.approx(last.metrics["perplexity"])


def test_the_best_checkpoint_can_be_chosen_by_perplexity(pretrain: Any) -> None:
    listener, result = pretrain(
        num_train_epochs=3,
        val_size=12,
        do_eval=True,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_perplexity",
        greater_is_better=False,
        early_stopping_steps=3,
    )
    scores = {event.step: event.metrics["perplexity"] for event in listener.of(Evaluated)}
    assert result["best_step"] == min(scores, key=lambda step: scores[step])
    assert listener.of(CheckpointSaved)


def test_rows_are_packed_unless_told_otherwise(pretrain: Any) -> None:
    packed, _ = pretrain("packed", max_steps=2)
    apart, _ = pretrain("apart", packing=False, max_steps=2)
    assert any("packed into" in line.text for line in packed.of(LogLine))
    assert not any("packed into" in line.text for line in apart.of(LogLine))
    # Two rows a step: full ones, or single texts that fill only a part of them.
    assert packed.of(StepLogged)[0].tokens == 2 * 64
    assert apart.of(StepLogged)[0].tokens < 2 * 64


def test_conversations_are_learned_as_their_rendered_text(pretrain: Any) -> None:
    listener, _ = pretrain(dataset="talks", max_steps=2)
    assert listener.of(StepLogged)[0].tokens == 2 * 64


@pytest.mark.parametrize("method", ["full", "lora"])
def test_stop_and_resume_end_where_the_whole_run_does(
    method: str, pretrain: Any, tmp_path: Path
) -> None:
    settings = {
        "finetuning_type": method,
        "gradient_accumulation_steps": 2,
        "max_steps": 9,
        "save_strategy": "steps",
        "save_steps": 100,
        "logging_steps": 2,
    }
    whole, _ = pretrain("whole", **settings)
    with stopped_at(10):  # between the two micro-batches of step 5
        pretrain("parts", **settings)
    again, _ = pretrain("parts", resume_from_checkpoint=True, **settings)
    logged = {event.step: event for event in whole.of(StepLogged)}
    for event in again.of(StepLogged):
        assert event.loss == logged[event.step].loss
        assert event.watched["perplexity"] == logged[event.step].watched["perplexity"]
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    files = [tmp_path / run / name for run in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
