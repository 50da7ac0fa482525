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


# Number, settings, the setting that is marked, the packages that are there.
BREAKS: list[tuple[str, dict[str, Any], str, set[str]]] = [
    *(("32", {"report_to": name}, "report_to", set()) for name in group.TRACKERS),
    ("32", {"use_swanlab": True}, "use_swanlab", set()),
    ("32", {"report_to": "comet_ml"}, "report_to", set()),
    ("33", {"report_to": "trackio", "project": None}, "project", {"trackio"}),
    ("o95", {"report_to": "wanb"}, "report_to", set()),
    ("o95", {"report_to": "neptune"}, "report_to", set()),
    (
        "o96",
        {"report_to": "trackio", "trackio_static_space_id": "me/still"},
        "trackio_static_space_id",
        {"trackio"},
    ),
]


@pytest.mark.parametrize(("number", "change", "setting", "there"), BREAKS)
def test_refused(
    number: str, change: dict[str, Any], setting: str, there: set[str], installed: set[str]
) -> None:
    installed |= there
    assert told(number, config(**change)).setting == setting


@pytest.mark.parametrize("name", list(group.TRACKERS))
def test_32_names_the_command_that_installs(name: str, installed: set[str]) -> None:
    assert f"pip install 'finetui[{name}]'" in told("32", config(report_to=name)).hint
    installed.add(name)
    assert check(config(report_to=name)) == []


def test_32_names_the_package_of_others(installed: set[str]) -> None:
    assert "pip install comet-ml" in told("32", config(report_to="comet_ml")).hint


def test_21_every_stage_takes_every_tracker(installed: set[str]) -> None:
    installed |= set(group.TRACKERS)
    for name in group.TRACKERS:
        ppo = config(stage="ppo", reward_funcs="length", report_to=name)
        assert check(ppo) == []


def test_a_snapshot_of_a_named_space(installed: set[str]) -> None:
    installed.add("trackio")
    snapshot = {"trackio_static_space_id": "me/still", "trackio_space_id": "me/live"}
    assert check(config(report_to="trackio", **snapshot)) == []


def test_every_rule_is_walked() -> None:
    assert {number for number, _ in RULES} == {number for number, *_ in BREAKS}


def test_secrets_are_never_written() -> None:
    names = ("swanlab_api_key", "swanlab_lark_webhook_url", "swanlab_lark_secret")
    changed = config(**dict.fromkeys(names, "a-secret-of-the-service"))
    assert "a-secret" not in write_yaml(changed) + repr(changed)
    assert all(getattr(changed, name) for name in names)


def test_the_form_sets_them() -> None:
    changed = with_value(defaults_for_form(), "report_to", "tensorboard")
    assert chosen_trackers(changed) == ("tensorboard",)
