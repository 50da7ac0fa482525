"""PPO as a run: every method trains, stops and goes on, saves, and is told about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from engine.events import Completions, Evaluated, StepLogged
from engine.problem import BadInput
from engine.runs.checkpoints import list_checkpoints
from engine.training import run_training
from tests.engine.training.ppo.cases import METHODS, PPO, losses, said, weights

LOGGED = {
    "reward",
    "reward_std",
    "kl",
    "kl_coef",
    "entropy",
    "clip_share",
    "policy_loss",
    "value_loss",
    "response_length",
}


# -- a run and its files ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_saves_and_is_loaded_again(
    method: str, train, model_folder: Path, tmp_path: Path
) -> None:
    from engine.models.value_head import read_value_head

    listener = train("run", max_steps=3, save_steps=2, **METHODS[method])
    run = tmp_path / "run"
    steps = listener.of(StepLogged)
    assert [e.step for e in steps] == [1, 2, 3]
    for event in steps:
        assert set(event.watched) >= LOGGED
        assert event.loss == pytest.approx(
            event.watched["policy_loss"] + 0.1 * event.watched["value_loss"], abs=1e-5
        )
    lines = [json.loads(x) for x in (run / "trainer_log.jsonl").read_text().splitlines()]
    assert {"reward", "kl", "entropy"} <= set(lines[0])
    head = read_value_head(run)
    assert head is not None
    assert head[0].shape == (1, 32)
    names = {key for file in run.glob("*model.safetensors") for key in load_file(str(file))}
    assert not any("v_head" in name for name in names)
    checkpoint = list_checkpoints(run)[0]
    assert checkpoint.step == 2
    assert (checkpoint.path / "value_head.safetensors").is_file()
    assert (checkpoint.path / "ppo_state.json").is_file()

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if method == "lora":
        model = AutoModelForCausalLM.from_pretrained(str(model_folder))
        model = PeftModel.from_pretrained(model, str(run))
    else:
        model = AutoModelForCausalLM.from_pretrained(str(run))
    out = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=3, do_sample=False)
    assert out.shape[1] > 3


def test_the_first_pass_starts_where_answers_were_sampled(train) -> None:
    """With one update a step nothing has moved since the sampling: ratio 1, nothing clipped."""
    listener = train("run", max_steps=3, ppo_epochs=1, ppo_buffer_size=1)
    assert [e.watched["clip_share"] for e in listener.of(StepLogged)] == [0.0] * 3
    assert listener.of(StepLogged)[0].watched["kl"] == pytest.approx(0.0, abs=1e-5)


def test_answers_are_shown(train) -> None:
    shown = train("run", max_steps=2, reward_funcs="length,json_valid").of(Completions)
    assert [e.step for e in shown] == [1, 2]
    assert len(shown[0].rows) == 8
    row = shown[0].rows[0]
    assert "say" in row.prompt
    assert row.answer
    assert set(row.rewards) == {"length", "json_valid"}
    assert row.reward == pytest.approx(sum(row.rewards.values()))


def test_the_kl_controller_moves(train) -> None:
    steps = train("run", max_steps=3, ppo_target=0.1).of(StepLogged)
    coefficients = [e.watched["kl_coef"] for e in steps]
    assert coefficients[0] == 0.2
    # Far below the target at the first step: 8 answers lower it by a fifth of 8 / 10,000.
    assert coefficients[1] == pytest.approx(0.2 * (1 - 0.2 * 8 / 10_000))


def test_bf16(train) -> None:
    listener = train("run", max_steps=2, bf16=True)
    assert len(listener.of(StepLogged)) == 2


# -- evaluation ------------------------------------------------------------------------------


def test_held_out_prompts_are_answered_and_the_best_is_kept(train, tmp_path: Path) -> None:
    changes = {
        "val_size": 4,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "reward",
        "greater_is_better": True,
        "max_steps": 4,
        "learning_rate": 1e-2,
    }
    listener = train("run", **changes)
    found = listener.of(Evaluated)
    assert [e.step for e in found] == [1, 2, 3, 4]
    for event in found:
        assert event.loss == -event.metrics["reward"]
        assert {"reward", "reward_std", "response_length", "kl"} <= set(event.metrics)
    best = max(found, key=lambda e: e.metrics["reward"])
    assert weights(tmp_path / "run") == weights(tmp_path / "run" / f"checkpoint-{best.step}")


@pytest.mark.slow
def test_an_evaluation_changes_nothing_in_training(train) -> None:
    plain = train("plain", max_steps=3, val_size=4)
    watched = train("watched", max_steps=3, val_size=4, eval_strategy="steps", eval_steps=1)
    assert losses(plain) == losses(watched)


# -- the reference ---------------------------------------------------------------------------


@pytest.mark.slow
def test_an_adapter_trained_on_is_compared_with_its_own_start(
    train, make_config, make_session, tmp_path: Path
) -> None:
    """With the bare base as the reference the first step's KL would not be 0."""
    session, _ = make_session(tmp_path / "sft")
    run_training(make_config(max_steps=8), session)
    listener = train("run", max_steps=2, adapter_name_or_path=str(tmp_path / "sft"))
    first, second = listener.of(StepLogged)
    assert first.watched["kl"] == pytest.approx(0.0, abs=1e-5)
    assert second.watched["kl"] != 0.0


@pytest.mark.slow
def test_a_value_head_is_trained_on_from_the_adapter(train, tmp_path: Path) -> None:
    train("first", max_steps=2)
    train(
        "second",
        max_steps=1,
        learning_rate=1e-9,
        adapter_name_or_path=str(tmp_path / "first"),
    )
    before, after = (
        load_file(str(tmp_path / n / "value_head.safetensors")) for n in ("first", "second")
    )
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-6)


# -- rewards -----------------------------------------------------------------------------------


def test_a_reward_adapter_on_the_shared_base(train, model_folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    reward = AutoModelForSequenceClassification.from_pretrained(str(model_folder), num_labels=1)
    described = LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear")
    get_peft_model(reward, described).save_pretrained(tmp_path / "reward")
    changes = {"reward_model": str(tmp_path / "reward"), "reward_funcs": None, "max_steps": 3}
    listener = train("run", save_steps=2, **changes)
    assert all(e.watched["reward_std"] > 0 for e in listener.of(StepLogged))
    run = tmp_path / "run"
    assert not (run / "reward").exists()
    assert not (run / "checkpoint-2" / "reward").exists()
    again = train("run", save_steps=2, resume_from_checkpoint=str(run / "checkpoint-2"), **changes)
    assert losses(again)[3] == losses(listener)[3]


def test_model_and_functions_together(train, model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    reward = AutoModelForSequenceClassification.from_pretrained(str(model_folder), num_labels=1)
    folder = tmp_path / "reward"
    reward.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_folder / name, folder / name)
    listener = train(
        "run",
        max_steps=1,
        reward_model=str(folder),
        reward_model_type="full",
        reward_funcs="length",
        reward_weights="2,0.5",
        ppo_score_norm=False,
    )
    (event,) = listener.of(StepLogged)
    watched = event.watched
    assert watched["reward"] == pytest.approx(
        2 * watched["rewards/length"] + 0.5 * watched["rewards/reward_model"], abs=1e-5
    )


# -- what is refused or said -------------------------------------------------------------------


def test_dropout_is_off_and_that_is_said(train) -> None:
    listener = train("run", max_steps=1, lora_dropout=0.5, ppo_epochs=1, ppo_buffer_size=1)
    assert "lora_dropout" in said(listener)
    # With it, answers would not be as likely in the update as they were when sampled.
    assert listener.of(StepLogged)[0].watched["clip_share"] == 0.0


@pytest.mark.slow
def test_activations_computed_again_change_no_loss(train, monkeypatch) -> None:
    plain = train("plain", max_steps=2)
    monkeypatch.setattr("engine.training.memory_plan.plan_checkpointing", lambda *_: (True, ""))
    again = train("again", max_steps=2)
    for step, numbers in losses(plain).items():
        assert losses(again)[step][0] == pytest.approx(numbers[0], abs=1e-5)


def test_a_reward_that_compares_needs_answers(make_config, make_session, tmp_path: Path) -> None:
    from datasets import Dataset

    from engine.training.rewards import reward_functions
    from engine.training.rewards.scoring import Scoring, check_answers

    session, listener = make_session(tmp_path / "run")

    def check(functions: str, answers: list[str]) -> None:
        config = make_config(**{**PPO, "reward_funcs": functions})
        parts = SimpleNamespace(
            stream=None,
            config=config,
            session=session,
            train=Dataset.from_dict({"answer": answers}),
        )
        check_answers(parts, Scoring(None, (), tuple(reward_functions(config))))

    with pytest.raises(BadInput, match="no row has one"):
        check("exact_match", ["", " "])
    check("exact_match", ["red", "blue"])
    check("length", ["", ""])
    assert said(listener) == ""
    check("exact_match,length", ["", "red"])
    assert "1 of 2 rows have no right answer: exact_match" in said(listener)
