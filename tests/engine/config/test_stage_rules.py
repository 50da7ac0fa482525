"""The published rules that concern stages, by number: each is refused with one sentence, in the
form and in a file alike, or finetui can do the thing and a test shows it.

The numbers are those of the usual tool's refusals; further rules of finetui's own stand in
`test_config_rules.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.cli.read import checked, read_words
from engine.config import RunConfig, check, form_base, read_text, settings, with_value
from engine.problem import BadSettings

ROOT = Path(__file__).parents[3]
STAGE_RULES = ("10", "11", "14", "18", "19", "20", "21", "23", "24", "53", "55")

GOOD: dict[str, Any] = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}
HELD_OUT: dict[str, Any] = {"val_size": 0.1, "eval_strategy": "steps", "eval_steps": 10}
BEST: dict[str, Any] = {**HELD_OUT, "save_steps": 10, "load_best_model_at_end": True}
PPO: dict[str, Any] = {"stage": "ppo", "reward_model": "saves/rm"}
DPO: dict[str, Any] = {"stage": "dpo"}
PREDICT: dict[str, Any] = {
    "do_train": False,
    "do_predict": True,
    "predict_with_generate": True,
}
ACCURACY: dict[str, Any] = {"compute_accuracy": True, "predict_with_generate": True}


@dataclass(frozen=True)
class Refused:
    """A rule that stands: what breaks it on top of GOOD, and the start of the sentence."""

    number: str
    change: dict[str, Any]
    sentence: str
    job: str = "train"


@dataclass(frozen=True)
class NotYet:
    """A rule about a setting that is not here, so that it can't be broken: the key is refused."""

    number: str
    change: dict[str, Any]
    sentence: str


@dataclass(frozen=True)
class Works:
    """What the usual tool refuses and finetui does: `test` (file::name) shows it."""

    number: str
    what: str
    change: dict[str, Any]
    test: str
    job: str = "train"


REFUSED = [
    Refused("10", {"stage": "ppo"}, "ppo learns from a reward, but none is given."),
    Refused(
        "10",
        {**PPO, "finetuning_type": "full"},
        "reward_model_type lora lays the reward's adapter over the trained model's own base",
    ),
    Refused(
        "10",
        {**PPO, "finetuning_type": "freeze"},
        "reward_model_type lora lays the reward's adapter",
    ),
    *(
        Refused(
            "11",
            {**DPO, "pref_loss": loss, "dpo_label_smoothing": 0.1},
            f"dpo_label_smoothing acts in the losses sigmoid and robust, but pref_loss is {loss}.",
        )
        for loss in ("hinge", "ipo", "kto_pair", "orpo", "simpo")
    ),
    *(
        Refused("14", {**stage, "pissa_init": True}, "pissa_init takes the adapter's start out")
        for stage in (PPO, DPO, {"stage": "kto"})
    ),
    Refused("18", {**DPO, "neat_packing": True}, "neat_packing joins the conversations of stage"),
    Refused("21", {**PPO, "shift_attn": True}, "shift_attn changes attention in training only"),
    *(
        Refused("18", {"stage": stage, name: True}, f"{name} chooses which tokens")
        for name in ("train_on_prompt", "mask_history")
        for stage in ("pt", "rm", "dpo", "kto")
    ),
    Refused(
        "18",
        {**DPO, "predict_with_generate": True, "val_size": 0.1},
        "predict_with_generate compares with the answers of a conversation set",
    ),
    Refused(
        "19",
        {"do_predict": True, "val_size": 0.1},
        "do_predict without predict_with_generate would answer nothing.",
    ),
    Refused("23", {**PPO, "dataset": None}, "There is no dataset to train on."),
    Refused("23", {**DPO, "do_eval": True}, "do_eval is on, but there are no rows"),
    Refused(
        "23",
        {"do_predict": True, "predict_with_generate": True},
        "do_predict is on, but there are no rows",
    ),
    Refused("24", {**ACCURACY, "val_size": 0.1}, "predict_with_generate scores written answers"),
]
NOT_YET = [
    NotYet("21", {**PPO, "use_unsloth": True}, "use_unsloth isn't here"),
    NotYet("21", {**PPO, "use_kt": True}, "use_kt isn't here"),
    NotYet("24", {"deepspeed": "z3.json", "predict_with_generate": True}, "deepspeed isn't here"),
]
HERE = "tests/engine/config/"
TRAINING = "tests/engine/training/"
WORKS = [
    Works(
        "10",
        "ppo with a reward function and no reward model",
        {"stage": "ppo", "reward_funcs": "length", "finetuning_type": "full"},
        HERE + "test_config_rules.py::test_rules_allow",
    ),
    Works(
        "11",
        "wrong pairs in the loss robust",
        {**DPO, "pref_loss": "robust", "dpo_label_smoothing": 0.1},
        TRAINING + "preference/test_preference_losses.py::test_dpo_losses_are_trls",
    ),
    Works(
        "18",
        "prediction on its own, with the settings of a run that learned from rewards",
        {"stage": "grpo", **PREDICT, "eval_dataset": "identity"},
        "tests/engine/evaluation/test_predicting.py::test_files_events_and_results",
        "predict",
    ),
    Works(
        "20",
        "the best checkpoint of a reward model",
        {"stage": "rm", **BEST, "metric_for_best_model": "accuracy"},
        TRAINING + "test_reward_model.py::test_it_learns_a_separable_preference",
    ),
    Works(
        "20",
        "the best checkpoint of ppo",
        {**PPO, **BEST, "metric_for_best_model": "reward"},
        TRAINING + "ppo/test_ppo_runs.py::test_held_out_prompts_are_answered_and_the_best_is_kept",
    ),
    Works(
        "21",
        "measuring with the settings of a ppo run, without training",
        {**PPO, "do_train": False, "do_eval": True, "eval_dataset": "identity"},
        "tests/engine/evaluation/test_measuring.py::test_an_adapter_is_measured_with_its_base",
        "evaluate",
    ),
    Works(
        "21",
        "ppo with any tracker",
        {**PPO, "report_to": "tensorboard"},
        TRAINING + "test_trackers.py::test_ppo_reports_to_any_tracker",
    ),
    Works(
        "53",
        "ppo with an evaluation set",
        {**PPO, "eval_dataset": "instructions", "eval_strategy": "epoch"},
        TRAINING + "ppo/test_ppo_runs.py::test_held_out_prompts_are_answered_and_the_best_is_kept",
    ),
    Works(
        "53",
        "going on with ppo",
        {**PPO, "resume_from_checkpoint": "true"},
        TRAINING + "ppo/test_ppo_resume.py::test_a_stopped_run_goes_on_as_if_it_had_not",
    ),
    Works(
        "53",
        "going on with ppo in full",
        {**PPO, "reward_model_type": "full", "finetuning_type": "full"}
        | {"resume_from_checkpoint": "true"},
        TRAINING + "ppo/test_ppo_resume.py::test_without_an_adapter_a_begun_step_is_ended",
    ),
    *(
        Works(
            "53",
            f"going on with a reward model ({method})",
            {"stage": "rm", "finetuning_type": method, "resume_from_checkpoint": "true"},
            TRAINING + "test_reward_model.py::test_a_stopped_run_goes_on_bit_for_bit",
        )
        for method in ("lora", "freeze", "full")
    ),
]
# Refused by what lies in the model's folder, whatever the settings say: these show it.
AT_THE_FOLDER = [
    ("55", TRAINING + "test_reward_model.py::test_a_reward_model_does_not_chat"),
    ("55", TRAINING + "test_reward_model.py::test_a_language_model_gives_no_scores"),
]


def spoken(problem: Any) -> tuple[str, str, str]:
    return problem.what, problem.hint, problem.setting


def in_the_form(change: dict[str, Any]) -> RunConfig:
    """The form of the stage, with each value set as a person would."""
    config = form_base(change.get("stage", "sft"))
    for name, value in {**GOOD, **change}.items():
        config = with_value(config, name, value)
    return config


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.number}-{case.sentence[:20]}")
def test_refused_with_the_same_sentence_in_form_and_file(case: Refused, tmp_path: Path) -> None:
    told = [problem for problem in check(in_the_form(case.change), case.job)]
    (problem,) = [one for one in told if one.what.startswith(case.sentence)]
    assert problem.setting in settings()
    assert problem.hint.endswith(".")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**GOOD, **case.change}), "utf-8")
    with pytest.raises(BadSettings) as caught:
        checked(read_words([str(file)]), case.job)
    assert spoken(problem) in [spoken(one) for one in caught.value.problems]


@pytest.mark.parametrize("case", NOT_YET, ids=lambda case: f"{case.number}-{case.sentence[:20]}")
def test_what_is_not_here_is_refused_by_its_name(case: NotYet) -> None:
    with pytest.raises(BadSettings) as caught:
        read_text(yaml.safe_dump({**GOOD, **case.change}), "run.yaml")
    (problem,) = caught.value.problems
    assert problem.what.startswith(case.sentence)
    # Nothing of the form can set it either.
    key = problem.setting
    assert key not in settings() or case.change[key] not in settings()[key].choices


@pytest.mark.parametrize("case", WORKS, ids=lambda case: f"{case.number}-{case.what}")
def test_works_here(case: Works) -> None:
    assert check(in_the_form(case.change), case.job) == []
    assert checked(read_text(yaml.safe_dump({**GOOD, **case.change})).config, case.job)
    assert stands(case.test)


@pytest.mark.parametrize(("number", "test"), AT_THE_FOLDER)
def test_a_model_of_the_wrong_kind_is_refused_when_it_is_looked_at(number: str, test: str) -> None:
    assert stands(test)


def stands(test: str) -> bool:
    """Whether a test of that name is there."""
    file, _, name = test.partition("::")
    text = (ROOT / file).read_text("utf-8")
    return re.search(rf"^(async )?def {name}\(", text, re.MULTILINE) is not None


def test_every_rule_of_a_stage_is_walked() -> None:
    walked = {case.number for case in (*REFUSED, *NOT_YET, *WORKS)}
    walked |= {number for number, _ in AT_THE_FOLDER}
    assert walked == set(STAGE_RULES)
