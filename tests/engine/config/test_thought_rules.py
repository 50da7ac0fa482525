"""Rule 48 and what else is known of thoughts and templates before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import check, read_flat, remarks, sections, settings, with_value
from engine.config.chat_templates import FURTHER, TEMPLATES, meant
from engine.config.thoughts import SECTION
from engine.problem import BadSettings

GOOD: dict[str, Any] = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}


def test_rule_48_an_unknown_template_is_refused_with_the_nearest_name() -> None:
    config = read_flat({**GOOD, "template": "lama3"}).config
    (problem,) = check(config)
    assert problem.what == "The template 'lama3' is not known."
    assert problem.hint.startswith("Did you mean llama3?") and problem.setting == "template"
    assert meant("nothing like it at all") == ""


@pytest.mark.parametrize("name", [*TEMPLATES, *FURTHER])
def test_rule_48_every_published_name_is_taken(name: str) -> None:
    assert check(read_flat({**GOOD, "template": name}).config) == []


def test_defaults_are_those_of_published_files() -> None:
    config = read_flat(GOOD).config
    assert (config.enable_thinking, config.preserve_thinking, config.tool_format) == (
        True,
        False,
        None,
    )
    assert read_flat({**GOOD, "enable_thinking": None}).config.enable_thinking is None
    assert read_flat({**GOOD, "enable_thinking": "false"}).config.enable_thinking is False


def test_a_tool_format_is_one_of_the_published() -> None:
    assert len(settings()["tool_format"].choices) == 13
    with pytest.raises(BadSettings) as caught:
        read_flat({**GOOD, "tool_format": "hermes"})
    assert "expected" in caught.value.problems[0].what


def test_kept_and_stripped_thoughts_contradict_each_other() -> None:
    both = {**GOOD, "enable_thinking": False, "preserve_thinking": True}
    (remark,) = remarks(read_flat(both).config)
    assert remark.setting == "preserve_thinking" and "strips" in remark.what


def test_plain_text_has_no_thoughts_to_set() -> None:
    config = read_flat(GOOD).config
    shown = {section.name: section.rows for section in sections(config, "all")}
    assert shown[SECTION] == ["enable_thinking", "preserve_thinking", "tool_format"]
    assert SECTION not in {s.name for s in sections(with_value(config, "stage", "pt"), "all")}
