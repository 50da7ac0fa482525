"""Trackers in the settings: which are chosen, what is refused before anything loads, secrets."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import check, defaults_for_form, read_flat, with_value, write_yaml
from engine.config import trackers as group
from engine.config.trackers import RULES, chosen_trackers

GOOD = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}


def config(**changes: Any) -> Any:
    return read_flat({**GOOD, **changes}).config


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The tracker packages that are there, as the rules see them: none but those added here."""
    there: set[str] = set()
    monkeypatch.setattr(group, "find_spec", lambda name: object() if name in there else None)
    return there


def told(number: str, changed: Any) -> Any:
    found = [rule(changed) for name, rule in RULES if name == number]
    (problem,) = [problem for problem in found if problem is not None]
    assert problem.what.endswith(".") and problem.setting
    assert problem in check(changed)
    return problem


def test_what_is_chosen(installed: set[str]) -> None:
    installed |= {"wandb", "tensorboard"}
    for value, names in (
        ("none", ()),
        (None, ()),
        ("wandb", ("wandb",)),
        (["tensorboard", "wandb"], ("tensorboard", "wandb")),
        ("all", ("tensorboard", "wandb")),
    ):
        assert chosen_trackers(config(report_to=value)) == names
    assert chosen_trackers(config(use_swanlab=True)) == ("swanlab",)
    assert chosen_trackers(config(report_to="swanlab", use_swanlab=True)) == ("swanlab",)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "swanlab", "trackio"])
def test_32_a_tracker_without_its_package(name: str, installed: set[str]) -> None:
    problem = told("32", config(report_to=name))
    assert f"pip install 'finetui[{name}]'" in problem.hint
    installed.add(name)
    assert check(config(report_to=name)) == []


def test_32_names_the_switch_that_asked_and_packages_of_others(installed: set[str]) -> None:
    assert told("32", config(use_swanlab=True)).setting == "use_swanlab"
    assert "pip install comet-ml" in told("32", config(report_to="comet_ml")).hint


def test_33_trackio_without_a_project(installed: set[str]) -> None:
    installed.add("trackio")
    assert told("33", config(report_to="trackio", project=None)).setting == "project"
    assert check(config(report_to="trackio")) == []


def test_21_every_stage_takes_every_tracker(installed: set[str]) -> None:
    installed |= set(group.TRACKERS)
    for name in group.TRACKERS:
        ppo = config(stage="ppo", reward_funcs="length", report_to=name)
        assert check(ppo) == []


def test_o95_a_name_that_no_tracker_has(installed: set[str]) -> None:
    assert "no tracker wanb" in told("o95", config(report_to="wanb")).what
    assert "closed" in told("o95", config(report_to="neptune")).what


def test_o96_a_snapshot_of_no_space(installed: set[str]) -> None:
    installed.add("trackio")
    snapshot = {"report_to": "trackio", "trackio_static_space_id": "me/still"}
    assert told("o96", config(**snapshot)).setting == "trackio_static_space_id"
    assert check(config(**snapshot, trackio_space_id="me/live")) == []


def test_every_rule_is_walked() -> None:
    assert {number for number, _ in RULES} == {"32", "33", "o95", "o96"}


def test_secrets_are_never_written() -> None:
    names = ("swanlab_api_key", "swanlab_lark_webhook_url", "swanlab_lark_secret")
    changed = config(**dict.fromkeys(names, "a-secret-of-the-service"))
    assert "a-secret" not in write_yaml(changed) + repr(changed)
    assert all(getattr(changed, name) for name in names)


def test_the_form_sets_them() -> None:
    changed = with_value(defaults_for_form(), "report_to", "tensorboard")
    assert chosen_trackers(changed) == ("tensorboard",)
