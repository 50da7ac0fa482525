"""What each stage is watched by, found in what a run logged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from engine.events import Completion, Completions, StepLogged, to_json
from engine.runs.curves import read_curves
from engine.runs.measures import LOSS, measures, named_in, of_curves, pictures

STEPS = [1, 2, 3]
STAGES = ("pt", "sft", "rm", "dpo", "kto", "ppo", "grpo", "rloo", "distill")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_own_measures_the_loss_among_them(stage: str) -> None:
    found = measures(stage)
    keys = [one.key for one in found]
    assert LOSS in found and len(set(keys)) == len(keys)
    assert all(one.label and one.names and one.help.endswith(".") for one in found)
    assert all((one.curves is None) == (not one.other) for one in found)
    # What is learned by rewards is watched by its reward; its loss tells little.
    assert keys[0] == ("reward" if stage in ("ppo", "grpo", "rloo") else "loss")


def test_only_what_was_logged_has_a_picture() -> None:
    logged = {
        "loss": (STEPS, [3.0, 2.0, 1.0]),
        "rewards/chosen": (STEPS, [0.1, 0.2, 0.3]),
        "rewards/rejected": (STEPS, [0.0, -0.1, -0.2]),
        "rewards/margins": (STEPS, [0.1, 0.3, 0.5]),
        "entropy": (STEPS, [1.0, 1.0, 1.0]),
    }
    shown = pictures("dpo", logged, {"rewards/margins": ([3], [0.4])})
    assert [one.measure.key for one in shown] == ["loss", "rewards", "margin"]
    pair = shown[1]
    assert pair.points[1] == [0.1, 0.2, 0.3] and pair.other[1] == [0.0, -0.1, -0.2]
    assert pair.measure.curves == ("chosen", "rejected")
    assert shown[2].judged == ([3], [0.4]) and shown[2].measure.better == "higher"
    assert "entropy" not in named_in(shown) and "rewards/rejected" in named_in(shown)


def test_a_run_without_any_number_still_has_one_picture() -> None:
    assert [one.measure.key for one in pictures("grpo", {}, {})] == ["loss"]


def test_the_perplexity_of_a_log_without_one_follows_from_its_loss() -> None:
    shown = pictures("pt", {"loss": (STEPS, [0.0, 1.0, 800.0])}, {"loss": ([3], [2.0])})
    perplexity = shown[1]
    assert perplexity.measure.key == "perplexity"
    assert list(perplexity.points[1][:2]) == [1.0, math.e] and math.isnan(perplexity.points[1][2])
    assert list(perplexity.judged[1]) == [math.exp(2.0)]
    logged = {"loss": (STEPS, [1.0] * 3), "perplexity": (STEPS, [9.0] * 3)}
    assert pictures("pt", logged, {})[1].points[1] == [9.0] * 3


def test_each_reward_function_has_its_picture_where_there_are_several() -> None:
    one = {"reward": (STEPS, [1.0] * 3), "rewards/length/mean": (STEPS, [1.0] * 3)}
    assert [p.measure.key for p in pictures("grpo", one, {})] == ["reward"]
    two = {**one, "rewards/exact_match/mean": (STEPS, [0.0] * 3)}
    labels = [p.measure.label for p in pictures("grpo", two, {})]
    assert labels == ["reward", "length", "exact_match"]
    ours = {"rewards/length": (STEPS, [1.0] * 3), "rewards/contains": (STEPS, [0.0] * 3)}
    assert [p.measure.label for p in pictures("ppo", ours, {})] == ["length", "contains"]
    pairs = {"rewards/margins": (STEPS, [1.0] * 3), "rewards/accuracies": (STEPS, [1.0] * 3)}
    assert [p.measure.label for p in pictures("dpo", pairs, {})] == ["margin", "accuracy"]


def test_a_finished_run_is_read_back_with_what_its_evaluations_measured(tmp_path: Path) -> None:
    lines = [
        {"current_steps": 1, "total_steps": 2, "loss": 0.7, "accuracy": 0.5, "margin": 0.1},
        {"current_steps": 2, "total_steps": 2, "loss": 0.6, "accuracy": 0.9, "margin": 0.4},
        {"current_steps": 2, "total_steps": 2, "eval_loss": 0.65, "eval_accuracy": 0.8},
    ]
    (tmp_path / "trainer_log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    shown = pictures("rm", *of_curves(read_curves(tmp_path)))
    assert [one.measure.key for one in shown] == ["loss", "accuracy", "margin"]
    accuracy = shown[1]
    assert list(accuracy.points[1]) == [0.5, 0.9] and list(accuracy.judged[1]) == [0.8]


def test_the_answers_of_a_run_are_read_from_its_log_a_repeated_step_once(tmp_path: Path) -> None:
    from engine.worker.questions import completions_of

    assert completions_of(tmp_path) == ()
    said = [
        Completions(step=5, rows=(Completion("p", "old 5"),)),
        Completions(step=10, rows=(Completion("p", "old 10", reward=math.nan),)),
        StepLogged(step=10, total_steps=20, loss=0.0, learning_rate=0.0, epoch=0.0),
        Completions(step=10, rows=(Completion("p", "new 10", "a", 0.5, {"length": 0.5}, -1.0),)),
    ]
    lines = "".join(to_json(event) + "\n" for event in said)
    (tmp_path / "events.jsonl").write_text(lines + '{"kind": "Completions", "st')
    found = completions_of(tmp_path)
    assert [(one.step, one.rows[0].text) for one in found] == [(5, "old 5"), (10, "new 10")]
    assert found[1].rows[0].rewards == {"length": 0.5}
