"""A named template is rendered as its slots say, and exactly the assistant's turns are trained."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, Example, Message
from engine.datasets.template import render
from engine.datasets.templates.package import kept_file
from engine.datasets.templates.reader import read_templates
from engine.datasets.templates.record import Mark
from engine.datasets.templates.writer import opening_of, write_jinja

READ = ("glm4_7", "moonlight", "openchat", "vicuna", "zephyr")
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"city": "Paris"}}}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "d", "parameters": {}}}
QUESTION = Message("user", "What is the weather?")
TALK = (QUESTION, Message("assistant", "Sunny."), Message("user", "And now?"),
        Message("assistant", "It's raining \\ 'hard'\n{{content}}"))  # fmt: skip
CALLED = (QUESTION, Message("assistant", "Let me see.", (CALL,)), Message("tool", "blue"),
          Message("assistant", "Sunny."))  # fmt: skip
# Tools as Qwen's published template describes them.
TOOLS = (
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
    + json.dumps(TOOL)
    + "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def flags(encoder: Encoder, example: Example) -> tuple[str, str]:
    """The row's text, and for each character whether it is trained (t) or prompt (p)."""
    pieces = encoder.pieces(example)
    marks = "".join(piece.part[0] * len(piece.text) for piece in pieces)
    return "".join(piece.text for piece in pieces), marks


def expected(pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    return (
        "".join(prompt + answer for prompt, answer in pairs),
        "".join("p" * len(prompt) + "t" * len(answer) for prompt, answer in pairs),
    )


def check_template(encoder: Encoder, call: Any, thinking: bool | None) -> None:
    """The rendering of plain, system and tool rows against the slots read another way."""
    row = Example("conversation", 1, TALK)
    assert flags(encoder, row) == expected(call.pairs(TALK, thinking=thinking))
    row = Example("conversation", 1, TALK, "Be brief.")
    assert flags(encoder, row) == expected(call.pairs(TALK, "Be brief.", thinking=thinking))
    if call.parts.get("format_tools") and "{{content}}" in str(call.parts["format_tools"]):
        return  # it writes its tools itself
    row = Example("conversation", 1, CALLED, "Be brief.", (TOOL,))
    pairs = call.pairs(CALLED, "Be brief.", TOOLS, thinking)
    assert flags(encoder, row) == expected(pairs)
    asked = encoder.render_prompt(TALK[:3])
    plain = call.pairs(TALK)
    turn = plain[1][0] + (call.empty_thought if thinking is False and call.thinks else "")
    end = call.text([{"eos_token"}], "") if call.efficient and len(plain) == 1 else ""
    assert asked == plain[0][0] + plain[0][1].removesuffix(end) + turn


def check_added(encoder: Encoder, call: Any) -> None:
    """Token by token: what is trained is what rendering with the last answer adds."""
    row = Example("conversation", 1, TALK)
    encoded = encoder.encode(row)
    without = encoder.tokenizer.encode(encoder.render_prompt(TALK[:3]))
    assert encoded.ids[: len(without)] == without
    assert all(encoded.trained[len(without) :])
    assert not encoded.trained[len(without) - 1]


@pytest.mark.parametrize("thinking", [True, False, None])
@pytest.mark.parametrize("name", READ)
def test_slots_are_rendered_and_answers_trained(
    name: str, thinking: bool | None, stand_in: Path, byte_model: Path, make_config: Any,
    calls: Callable[[str], Any],
) -> None:  # fmt: skip
    call = calls(stand_in.read_text())[name]
    encoder = Encoder(byte_model, make_config(template=name, enable_thinking=thinking))
    assert encoder.chat.record is not None
    check_template(encoder, call, thinking)
    if thinking is None:
        check_added(encoder, call)


def test_the_module_is_never_run_and_the_unreadable_is_named(stand_in: Path) -> None:
    read = read_templates(stand_in.read_text())
    assert sorted(read.records) == sorted(READ)
    assert "STAND_IN_WAS_RUN" not in os.environ
    assert "NAMED" in read.unreadable["yuan"]
    assert "another placeholder" in read.unreadable["index"]
    assert "OwnTemplate" in read.unreadable["solar"]


def test_a_record_keeps_every_fact(stand_in: Path) -> None:
    read = read_templates(stand_in.read_text()).records
    zephyr = read["zephyr"]
    assert zephyr.prefix == (Mark.BOS,) and zephyr.tool_format == "qwen" and zephyr.thinking
    assert zephyr.stop_words == ("</say>",) and zephyr.replace_eos and not zephyr.efficient_eos
    assert zephyr.empty_thought == "<think>\n\n</think>\n\n"
    assert read["glm4_7"].empty_thought == "</think>" and read["glm4_7"].efficient_eos
    assert read["openchat"].fused and read["vicuna"].default_system == "Be kind."
    assert read["vicuna"].assistant == ("{{content}}", Mark.EOS)
    assert read["moonlight"].media == {"name": "base", "image_token": "<image>"}


def test_an_answer_is_opened_where_the_turn_of_the_other_side_begins(stand_in: Path) -> None:
    read = read_templates(stand_in.read_text()).records
    assert opening_of(read["moonlight"].user)[1] == ("<|im_start|>assistant\n",)
    assert opening_of(read["openchat"].user)[1] == ("me ",)
    assert opening_of(read["vicuna"].user)[1] == (" A:",)
    text = render(write_jinja(read["moonlight"]), [{"role": "user", "content": "u"}], {})
    assert text.endswith("<|im_start|>user\nu<|im_end|>\n")


def test_several_results_make_one_turn(stand_in: Path, byte_model: Path, make_config: Any) -> None:
    encoder = Encoder(byte_model, make_config(template="zephyr"))
    two = (QUESTION, Message("assistant", "", (CALL, CALL)), Message("tool", "blue"),
           Message("tool", "warm"), Message("assistant", "Sunny."))  # fmt: skip
    text = encoder.encode(Example("conversation", 1, two)).text
    wrapped = "<tool_response>\nblue\n</tool_response>\n<tool_response>\nwarm\n</tool_response>"
    assert f"<ask>{wrapped}</ask>\n<say>" in text


@pytest.mark.slow
def test_every_published_template_is_rendered_as_its_slots_say(
    byte_model: Path, make_config: Any, calls: Callable[[str], Any], monkeypatch: Any
) -> None:
    """All templates of the package that pip brings, checked against its SHA-256."""
    from engine.datasets.templates.names import named_templates
    from engine.datasets.templates.package import NotHere, installed_file, package_templates

    monkeypatch.delenv("PIP_NO_INDEX")
    try:
        package = package_templates()
    except NotHere as reason:
        pytest.skip(f"no index here: {reason}")
    file = installed_file() or kept_file()
    called = calls(file.read_text(encoding="utf-8"))
    assert package.templates.unreadable == {}
    assert set(package.templates.records) == set(called)
    ours = {name for name, known in named_templates().items() if known.package or known.ours}
    assert ours <= set(called) and len(ours) == 121
    for name in sorted(called):
        if name in ("default", "empty"):
            continue
        for thinking in (True, False, None):
            encoder = Encoder(byte_model, make_config(template=name, enable_thinking=thinking))
            check_template(encoder, called[name], thinking)
            if thinking is None:
                check_added(encoder, called[name])
