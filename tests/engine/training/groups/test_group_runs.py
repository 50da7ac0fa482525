"""grpo and rloo as runs: they train, log, show answers, evaluate, stop and go on exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from engine.events import Completions, Evaluated, LogLine, StepLogged
from engine.problem import BadInput, JobFault, Stopped

STAGES = ("grpo", "rloo")


def run(config: Any, session: Any) -> dict[str, Any]:
    from engine.training import run_training

    return run_training(config, session)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("stage", STAGES)
def test_three_steps(
    stage: str,
    method: str,
    tmp_path: Path,
    group_config: Callable[..., Any],
    make_session: Callable[..., Any],
) -> None:
    session, seen = make_session(tmp_path / "run")
    config = group_config(stage=stage, finetuning_type=method, kl_beta=0.05, val_size=0.2)
    config = _with(config, eval_strategy="steps", eval_steps=2)
    result = run(config, session)
    assert result["steps"] == 3
    logged = seen.of(StepLogged)
    assert [event.step for event in logged] == [1, 2, 3]
    for name in ("reward", "reward_std", "kl", "entropy", "clip_ratio/region_mean"):
        assert all(name in event.watched for event in logged), name
    assert "completions/mean_length" in logged[0].watched
    reward = logged[0].watched["reward"]
    assert logged[0].watched["rewards/lower_case/mean"] == pytest.approx(reward)
    # The first step's policy is the reference still.
    assert logged[0].watched["kl"] == pytest.approx(0.0, abs=1e-6)
    assert logged[-1].watched["kl"] != 0.0
    line = json.loads((tmp_path / "run/trainer_log.jsonl").read_text().splitlines()[0])
    assert "reward" in json.dumps(line)
    # 8 answers of at most 8 tokens, and their prompts.
    assert 8 * 8 < logged[0].tokens < 8 * 64

    (first, *_rest) = seen.of(Completions)
    assert [event.step for event in seen.of(Completions)] == [1, 2, 3]
    assert len(first.rows) == 8
    for row in first.rows:
        assert row.prompt.endswith("<|im_start|>assistant\n") and row.prompt.count("user") == 1
        assert row.reward == pytest.approx(row.rewards["lower_case"]) and row.answer
    group = first.rows[:4]
    assert len({row.prompt for row in group}) == 1
    assert sum(row.advantage for row in group) == pytest.approx(0.0, abs=1e-3)

    (evaluated,) = [e for e in seen.of(Evaluated) if e.step == 2]
    assert evaluated.loss == pytest.approx(-evaluated.metrics["reward"])
    reward = evaluated.metrics["reward"]
    assert evaluated.metrics["rewards/lower_case/mean"] == pytest.approx(reward)

    names = {path.name for path in (tmp_path / "run").rglob("*")}
    assert not names & {"ref", "completions"}  # no second adapter, no table
    if method == "lora":
        assert "adapter_model.safetensors" in names


@pytest.mark.parametrize("stage", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
def test_stop_within_an_answer_and_go_on_as_if_never_stopped(
    stage: str,
    tmp_path: Path,
    group_config: Callable[..., Any],
    make_session: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.training.groups.trainer import GroupRunTrainer

    # Rows: 22, rounds of 2 prompts: the second epoch begins after step 11.
    config = group_config(
        stage=stage, kl_beta=0.05, max_steps=13, save_steps=100, logging_steps=3, lora_dropout=0.1
    )
    session, whole = make_session(tmp_path / "whole")
    run(config, session)

    session, _ = make_session(tmp_path / "run")
    asked = {"steps": 0}
    sample = GroupRunTrainer._sample

    def stop_in_the_middle(trainer: Any, prompts: Any) -> Any:
        if trainer.state.global_step == 11:
            check = session.control.check

            def later(*args: Any, **rest: Any) -> Any:
                asked["steps"] += 1
                if asked["steps"] == 10:
                    session.control.stop()
                return check(*args, **rest)

            monkeypatch.setattr(session.control, "check", later)
        return sample(trainer, prompts)

    monkeypatch.setattr(GroupRunTrainer, "_sample", stop_in_the_middle)
    with pytest.raises(Stopped):
        run(config, session)
    assert asked["steps"] >= 10
    assert (tmp_path / "run/checkpoint-11").is_dir()
    monkeypatch.setattr(GroupRunTrainer, "_sample", sample)

    session, again = make_session(tmp_path / "run")
    run(_with(config, resume_from_checkpoint=True), session)
    said = [event.text for event in again.of(LogLine)]
    assert any("Goes on with step 12; answers that were sampled" in text for text in said)
    last, other = whole.of(StepLogged)[-1], again.of(StepLogged)[-1]
    assert (other.step, other.loss, other.tokens) == (last.step, last.loss, last.tokens)
    assert other.watched == last.watched
    left, right = (tmp_path / name / "adapter_model.safetensors" for name in ("whole", "run"))
    assert left.read_bytes() == right.read_bytes()


@pytest.mark.slow
def test_steps_after_the_last_checkpoint_are_repeated_and_told(
    tmp_path: Path, group_config: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    config = group_config(max_steps=4, save_steps=2)
    session, first = make_session(tmp_path / "run")
    run(config, session)
    kept = tmp_path / "run/checkpoint-2"
    session, again = make_session(tmp_path / "run")
    run(_with(config, resume_from_checkpoint=str(kept)), session)
    said = [event.text for event in again.of(LogLine)]
    assert "Repeats steps 3 to 4: the same answers are sampled again, as they are not kept." in said
    texts = [[row.text for row in e.rows] for e in first.of(Completions) if e.step > 2]
    assert [[row.text for row in e.rows] for e in again.of(Completions)] == texts


def test_prompts_are_asked_as_the_encoder_wrote_them(
    tmp_path: Path,
    group_config: Callable[..., Any],
    make_session: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.training.groups import trainer as module

    asked: list[list[int]] = []
    sample = module.sample

    def listen(model: Any, prompts: Any, *rest: Any) -> Any:
        asked.extend(prompts)
        return sample(model, prompts, *rest)

    monkeypatch.setattr(module, "sample", listen)
    config = group_config(num_train_epochs=1, max_steps=-1, per_device_train_batch_size=4)
    session, _ = make_session(tmp_path / "run")
    run(config, session)
    from engine.datasets import Encoder, prepare

    rows = prepare(config, Encoder(Path(config.model_name_or_path), config)).train
    known = [row["prompt_ids"] for row in (rows[i] for i in range(len(rows)))]
    # Each prompt four times in a row, each prompt once an epoch.
    firsts = asked[::4]
    assert all(asked[i : i + 4] == [asked[i]] * 4 for i in range(0, len(asked), 4))
    assert sorted(firsts) == sorted(known)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_an_adapter_that_is_trained_on_is_the_reference(
    stage: str, tmp_path: Path, group_config: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    session, _ = make_session(tmp_path / "first")
    run(group_config(stage=stage, learning_rate=0.05), session)
    session, seen = make_session(tmp_path / "second")
    again = group_config(
        stage=stage, kl_beta=0.1, adapter_name_or_path=str(tmp_path / "first"), max_steps=2
    )
    run(again, session)
    kl = [event.watched["kl"] for event in seen.of(StepLogged)]
    assert kl[0] == pytest.approx(0.0, abs=1e-6) and kl[1] != 0.0


@pytest.mark.parametrize("stage", STAGES)
def test_a_reward_adapter_on_the_shared_base(
    stage: str,
    tmp_path: Path,
    model_folder: Path,
    group_config: Callable[..., Any],
    make_session: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    from engine.training.groups.trainer import GroupRunTrainer

    torch.manual_seed(0)
    kind: Any = AutoModelForSequenceClassification
    reward = kind.from_pretrained(str(model_folder), num_labels=1)
    described: Any = LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear")
    get_peft_model(reward, described).save_pretrained(str(tmp_path / "reward"))

    trained: list[set[str]] = []
    begin = GroupRunTrainer.begin_epoch

    def look(trainer: Any) -> None:
        names = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
        trained.append({name.split(".")[-2] for name in names})
        assert set(trainer.model.peft_config) == {"default", "reward"}
        begin(trainer)

    monkeypatch.setattr(GroupRunTrainer, "begin_epoch", look)
    config = group_config(
        stage=stage,
        kl_beta=0.05,
        reward_funcs="length",
        reward_length=4,
        reward_model=str(tmp_path / "reward"),
        reward_weights="2, 0.5",
        max_steps=2,
    )
    session, seen = make_session(tmp_path / "run")
    run(config, session)
    assert trained == [{"default"}]
    for event in seen.of(StepLogged):
        watched = event.watched
        assert watched["rewards/reward_model/std"] > 0
        assert watched["reward"] == pytest.approx(
            2 * watched["rewards/length/mean"] + 0.5 * watched["rewards/reward_model/mean"],
            abs=1e-5,
        )
    assert seen.of(StepLogged)[0].watched["kl"] == pytest.approx(0.0, abs=1e-6)
    assert set(seen.of(Completions)[0].rows[0].rewards) == {"length", "reward_model"}
    assert not (tmp_path / "run/reward").exists() and not (tmp_path / "run/ref").exists()


def test_what_is_refused_before_training(
    tmp_path: Path, group_config: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(BadInput, match="lm_head"):
        run(group_config(lora_target="q_proj,lm_head"), session)
    with pytest.raises(BadInput, match="There is no file"):
        run(_with(group_config(), reward_funcs=str(tmp_path / "none.py")), session)


def test_a_reward_function_that_fails_ends_the_run_with_its_line(
    tmp_path: Path, group_config: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def reward(completions, prompts, answers):\n    return 1 / 0\n")
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(JobFault, match="ZeroDivisionError") as caught:
        run(group_config(reward_funcs=str(file)), session)
    assert caught.value.problem.where == f"{file}, line 2"


def test_rows_without_a_reference_answer_are_told(group_config: Callable[..., Any]) -> None:
    from types import SimpleNamespace

    from engine.training.rewards import reward_functions
    from engine.training.rewards.scoring import check_answers

    said: list[str] = []
    scoring = SimpleNamespace(
        functions=reward_functions(group_config(reward_funcs="exact_match")), model=None
    )
    parts: Any = SimpleNamespace(
        stream=None,
        train={"answer": ["", " "]},
        session=SimpleNamespace(say=lambda text, _: said.append(text)),
    )
    with pytest.raises(BadInput, match="no row has one"):
        check_answers(parts, scoring)
    parts.train = {"answer": ["", "a"]}
    check_answers(parts, scoring)
    assert said == ["1 of 2 rows have no right answer: exact_match gives their answers no reward."]


def _with(config: Any, **changes: Any) -> Any:
    import dataclasses

    return dataclasses.replace(config, **changes)
