"""Distillation as whole runs: the student comes close to its teacher on rows it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from engine.events import Completions, Evaluated, LogLine, StepLogged
from engine.problem import BadInput
from engine.training import run_training
from tests.engine.training.stopping import stopped_at

COLOURS = ["red", "green", "blue", "white"]
WORDS = [*COLOURS, "one", "two", "three", "sun", "moon", "star", "day", "night"]


def build(folder: Path, base: Path, **changes: Any) -> Path:
    """A model of the base's kind with other weights (and, with `changes`, another shape)."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = AutoModelForCausalLM.from_pretrained(base).config
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(9)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def teacher(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wider than the student, and with something to say: its weights are large."""
    folder = tmp_path_factory.mktemp("teacher")
    wide = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 1}
    return build(folder, model_folder, initializer_range=0.2, **wide)


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    rows = [
        {
            "instruction": f"say {WORDS[i % 12]} {WORDS[(i * 5 + 1) % 12]}",
            "output": " ".join(WORDS[(i * 7 + j * j) % 12] for j in range(2 + i % 5)),
        }
        for i in range(64)
    ]
    (folder / "talks.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"talks": {"file_name": "talks.json"}}))
    return folder


@pytest.fixture
def distill(make_config: Any, make_session: Any, talks: Path, tmp_path: Path) -> Any:
    """Run a distillation; returns the listener and the result."""

    def go(name: str = "run", **changes: Any) -> tuple[Any, dict[str, Any]]:
        session, listener = make_session(tmp_path / name)
        settings = {
            "stage": "distill",
            "dataset": "talks",
            "dataset_dir": str(talks),
            "val_size": 16,
            "eval_strategy": "steps",
            "eval_steps": 1000,
            "eval_on_start": True,
            "do_eval": True,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
            "finetuning_type": "full",
            "learning_rate": 1e-2,
            "lr_scheduler_type": "cosine",
            "save_strategy": "no",
            **changes,
        }
        return listener, run_training(make_config(**settings), session)

    return go


def test_kl_to_the_teacher_falls_five_fold_on_held_out_rows(distill: Any, teacher: Path) -> None:
    listener, result = distill(teacher_model=str(teacher), num_train_epochs=30)
    first, last = listener.of(Evaluated)[0], listener.of(Evaluated)[-1]
    print(f"held-out KL {first.metrics['kl']:.4f} -> {last.metrics['kl']:.4f}")
    assert last.step == result["steps"]
    assert last.metrics["kl"] * 5 <= first.metrics["kl"]
    assert first.loss == pytest.approx(first.metrics["kl"], rel=1e-6)
    logged = listener.of(StepLogged)
    assert logged[-1].watched["kl"] == pytest.approx(logged[-1].loss, rel=1e-4)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_other_divergences_bring_the_kl_down_too(beta: float, distill: Any, teacher: Path) -> None:
    listener, _ = distill(
        teacher_model=str(teacher), distill_beta=beta, distill_temperature=1.5, num_train_epochs=12
    )
    first, last = listener.of(Evaluated)[0], listener.of(Evaluated)[-1]
    assert last.metrics["kl"] * 2 <= first.metrics["kl"]
    assert last.loss * 2 <= first.loss


@pytest.mark.slow
def test_on_its_own_samples_the_student_comes_close_and_shows_what_it_wrote(
    distill: Any, teacher: Path
) -> None:
    listener, _ = distill(
        teacher_model=str(teacher),
        distill_on="samples",
        max_new_tokens=8,
        temperature=1.0,
        top_p=1.0,
        num_train_epochs=15,
        logging_steps=10,
    )
    first, last = listener.of(Evaluated)[0], listener.of(Evaluated)[-1]
    print(f"held-out KL on samples {first.metrics['kl']:.4f} -> {last.metrics['kl']:.4f}")
    assert last.metrics["kl"] * 1.5 <= first.metrics["kl"]
    assert 1 <= last.metrics["completions/mean_length"] <= 8
    shown = listener.of(Completions)
    assert [event.step for event in shown] == [e.step for e in listener.of(StepLogged)]
    row = shown[-1].rows[0]
    assert row.prompt.endswith("assistant\n") and "say" in row.prompt
    assert row.text and row.answer.split()[0] in WORDS
    assert row.reward is None


@pytest.mark.parametrize("on", ["data", "samples"])
def test_with_lora_on_the_same_base_no_second_copy_is_held(
    on: str, distill: Any, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training.distil import teacher as home

    def refuse(*_: Any) -> Any:
        raise AssertionError("a second model was loaded")

    monkeypatch.setattr(home, "load_frozen", refuse)
    listener, result = distill(
        teacher_model=str(model_folder),
        finetuning_type="lora",
        distill_on=on,
        max_new_tokens=4,
        max_steps=2,
    )
    assert any("without its adapter" in line.text for line in listener.of(LogLine))
    # A new adapter changes nothing, so at the start the student is its own teacher.
    assert listener.of(Evaluated)[0].metrics["kl"] == pytest.approx(0.0, abs=1e-6)
    assert result["steps"] == 2


def test_a_wider_head_of_the_same_tokenizer_is_compared_where_both_have_ids(
    distill: Any, model_folder: Path, tmp_path: Path
) -> None:
    vocabulary = AutoModelForCausalLM.from_pretrained(model_folder).config.vocab_size
    padded = build(tmp_path / "padded", model_folder, vocab_size=vocabulary + 37)
    listener, _ = distill(teacher_model=str(padded), max_steps=1)
    assert listener.of(Evaluated)[0].metrics["kl"] > 0


def test_another_vocabulary_is_refused_with_the_token_that_differs(
    distill: Any, model_folder: Path, tmp_path: Path
) -> None:
    other = build(tmp_path / "other", model_folder)
    path = other / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(BadInput, match="different vocabularies") as caught:
        distill(teacher_model=str(other))
    assert caught.value.problem.setting == "teacher_model"
    with pytest.raises(BadInput) as caught:
        distill(teacher_model=str(tmp_path / "nowhere"))
    assert caught.value.problem.setting == "teacher_model"


@pytest.mark.parametrize("on", ["data", "samples"])
def test_stop_and_resume_end_where_the_whole_run_does(
    on: str,
    distill: Any,
    teacher: Path,
    make_config: Any,
    tmp_path: Path,
) -> None:

    settings = {
        "teacher_model": str(teacher),
        "distill_on": on,
        "max_new_tokens": 4,
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 4,
        "finetuning_type": "lora",
        "eval_strategy": "no",
        "eval_on_start": False,
        "max_steps": 9,
        "save_strategy": "steps",
        "save_steps": 100,
    }
    distill("whole", **settings)
    with stopped_at(9 if on == "data" else 40):
        distill("parts", **settings)
    listener, _ = distill("parts", resume_from_checkpoint=True, **settings)
    steps = [event.step for event in listener.of(StepLogged)]
    assert 1 < steps[0] <= 8 and steps[-1] == 9
    files = [tmp_path / name / "adapter_model.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
