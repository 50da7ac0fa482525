"""Remarks on checkpoints that would come too late, or be of no use."""

from __future__ import annotations

from typing import Any

from engine.config import read_flat, remarks, sections

GOOD = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}


def told(setting: str, **changes: Any) -> list[str]:
    config = read_flat({**GOOD, **changes}).config
    return [one.what for one in remarks(config) if one.setting == setting]


def test_a_run_that_ends_before_its_first_checkpoint() -> None:
    (what,) = told("save_steps", max_steps=100, save_steps=500)
    assert "save_steps is 500, but the run ends after 100 steps" in what
    assert told("save_steps", max_steps=100, save_steps=100) == []
    assert told("save_steps", max_steps=100, save_steps=0.5) == []
    assert told("save_steps", save_steps=500) == []
    assert told("save_steps", max_steps=100, save_steps=500, save_strategy="epoch") == []


def test_going_on_by_itself_without_a_checkpoint() -> None:
    auto = {"recover_from_oom": "auto"}
    assert "save_only_model" in told("recover_from_oom", **auto, save_only_model=True)[0]
    assert "save_strategy: no" in told("recover_from_oom", **auto, save_strategy="no")[0]
    assert told("recover_from_oom", **auto) == []
    assert told("recover_from_oom", save_only_model=True) == []


def test_weights_only_and_the_limit_are_on_the_short_form() -> None:
    config = read_flat(GOOD).config
    short = {name for section in sections(config, "basic") for name in section.rows}
    assert {"save_only_model", "save_total_limit", "save_steps"} <= short
