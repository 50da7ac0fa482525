"""Thoughts as enable_thinking and preserve_thinking want them, and what a set holds of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, Example, Message
from engine.datasets.thoughts import has_thoughts, stripped, thought_renderings, thoughts_in
from engine.problem import BadInput

THOUGHT = "<think>\nIt is May.\n</think>\n\n"
EMPTY = "<think>\n\n</think>\n\n"
TALK = (
    Message("user", "What is the weather?"),
    Message("assistant", f"{THOUGHT}Sunny."),
    Message("user", "And now?"),
    Message("assistant", "Rainy."),
)
ROW = Example("conversation", 1, TALK)
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"city": "Paris"}}}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "d", "parameters": {}}}


def runs(encoder: Encoder, row: Example = ROW) -> list[str]:
    """The text of each unbroken run of trained tokens."""
    found: list[str] = []
    before = "prompt"
    for piece in encoder.pieces(row):
        if piece.part == "trained":
            if before != "trained":
                found.append("")
            found[-1] += piece.text
        before = piece.part
    return found


def test_a_template_without_thoughts_is_untouched(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    rows = [Encoder(model_folders["chatml"], make_config(enable_thinking=mode)).encode(ROW)
            for mode in (True, False, None)]  # fmt: skip
    assert rows[0] == rows[1] == rows[2]
    assert "It is May." in rows[0].text and "<think>\n\n" not in rows[0].text
    told = Encoder(model_folders["chatml"], make_config(enable_thinking=False)).notes
    assert told == ("enable_thinking: false changes nothing: this template has no thoughts.",)


def test_the_models_own_way(model_folders: dict[str, Path], make_config: Any) -> None:
    """It strips earlier thoughts itself and writes an empty one before the last answer."""

    def encoder(mode: bool | None) -> Encoder:
        return Encoder(model_folders["thinking"], make_config(enable_thinking=mode))

    assert runs(encoder(True)) == ["Sunny.<|im_end|>\n", f"{EMPTY}Rainy.<|im_end|>\n"]
    assert runs(encoder(None)) == runs(encoder(True))  # the template's doing
    assert runs(encoder(False)) == ["Sunny.<|im_end|>\n", "Rainy.<|im_end|>\n"]
    kept = Example("conversation", 1, TALK[:2])
    assert runs(encoder(True), kept) == [f"{THOUGHT}Sunny.<|im_end|>\n"]
    assert runs(encoder(False), kept) == ["Sunny.<|im_end|>\n"]
    asked = encoder(False).render_prompt(TALK[:1])
    assert asked.endswith(f"assistant\n{EMPTY}")
    assert encoder(False).encode(kept).text.startswith(asked)


# As DeepSeek and others: thoughts are written where there are some, and nothing else is.
ONLY_GIVEN = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}"
    "{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As gpt-oss: an answer stands in a channel of its own.
CHANNELS = (
    "{% for m in messages %}{{ '<|start|>' + m.role }}"
    "{% if m.thinking %}{{ '<|channel|>analysis<|message|>' + m.thinking + "
    "'<|end|><|start|>assistant' }}{% endif %}"
    "{% if m.role == 'assistant' %}{{ '<|channel|>final' }}{% endif %}"
    "{{ '<|message|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)


@pytest.fixture
def own_template(tmp_path: Path, model_folders: dict[str, Path]) -> Any:
    def make(template: str) -> Path:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name).write_bytes((model_folders["thinking"] / name).read_bytes())
        (tmp_path / "chat_template.jinja").write_text(template)
        return tmp_path

    return make


def test_an_empty_thought_is_added_where_the_template_writes_none(
    own_template: Any, make_config: Any
) -> None:
    folder = own_template(ONLY_GIVEN)
    row = Example("conversation", 1, TALK[2:])
    assert runs(Encoder(folder, make_config()), row) == [f"{EMPTY}Rainy.<|im_end|>\n"]
    off = Encoder(folder, make_config(enable_thinking=False))
    assert runs(off, row) == ["Rainy.<|im_end|>\n"]
    assert off.encode(row).text == off.render_prompt(row.messages[:1]) + "Rainy.<|im_end|>\n"
    assert f"assistant\n{EMPTY}Rainy." in off.encode(row).text
    assert runs(Encoder(folder, make_config(enable_thinking=None)), row) == ["Rainy.<|im_end|>\n"]


def test_a_template_with_an_own_place_for_answers_is_left_alone(
    own_template: Any, make_config: Any
) -> None:
    folder = own_template(CHANNELS)
    row = Example("conversation", 1, TALK[2:])
    (trained,) = runs(Encoder(folder, make_config()), row)
    assert trained == "<|channel|>final<|message|>Rainy.<|end|>"


def test_empty_thoughts_count_for_the_cutoff_and_its_header(
    own_template: Any, make_config: Any
) -> None:
    row = Example("conversation", 1, (Message("user", "a b c " * 40), Message("assistant", "Yes.")))
    off = Encoder(own_template(ONLY_GIVEN), make_config(enable_thinking=False, cutoff_len=70))
    pieces = off.pieces(row)
    stays = "".join(piece.text for piece in pieces if piece.part != "cut")
    assert stays.endswith(f"<|im_start|>assistant\n{EMPTY}Yes.<|im_end|>\n")
    assert sum(piece.part == "cut" for piece in pieces) > 50


def test_named_templates_in_chat_forget_earlier_thoughts(
    stand_in: Path, byte_model: Path, make_config: Any
) -> None:
    encoder = Encoder(byte_model, make_config(template="zephyr"))
    assert "It is May." not in encoder.render_prompt(TALK[:3])
    kept = Encoder(byte_model, make_config(template="zephyr", preserve_thinking=True))
    assert "It is May." in kept.render_prompt(TALK[:3])
    # Within one answer with tools they stay.
    loop = (TALK[0], Message("assistant", "", (CALL,), "Hm."), Message("tool", "blue"))
    assert "Hm." in encoder.render_prompt([TALK[2], TALK[3], *loop])


@pytest.mark.parametrize("keep", [False, True])
def test_preserve_thinking_with_only_the_last_answer(
    keep: bool, stand_in: Path, byte_model: Path, make_config: Any
) -> None:
    both = (*TALK[:3], Message("assistant", "Rainy.", thoughts="Rain?"))
    encoder = Encoder(
        byte_model, make_config(template="zephyr", mask_history=True, preserve_thinking=keep)
    )
    row = encoder.encode(Example("conversation", 1, both))
    assert ("It is May." in row.text) is keep
    assert "<think>\nRain?\n</think>\n\nRainy." in row.text
    whole = Encoder(byte_model, make_config(template="zephyr"))
    assert "It is May." in whole.encode(Example("conversation", 1, both)).text


def test_a_template_that_drops_what_should_be_kept_is_told(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["thinking"], make_config(preserve_thinking=True))
    assert "leaves the thoughts of earlier turns out" in encoder.notes[0]


def test_a_name_against_the_models_kind_is_told(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    plain = Encoder(model_folders["chatml"], make_config(template="qwen3"))
    assert "for models that think, but the text in use has no thoughts" in plain.notes[-1]
    thinker = Encoder(model_folders["thinking"], make_config(template="qwen3_nothink"))
    assert "for models without thoughts, but this model's own template" in thinker.notes[-1]


def test_how_much_of_a_set_holds_thoughts() -> None:
    rows = [
        ROW,
        Example("conversation", 2, (TALK[0], Message("assistant", "x", thoughts="y"))),
        Example("preference", 3, (TALK[0],), chosen=Message("assistant", f"{THOUGHT}a"),
                rejected=Message("assistant", f"{EMPTY}b")),
        Example("text", 4, text="<think>no answer</think>"),
    ]  # fmt: skip
    assert thoughts_in(rows) == 3 / 5
    assert thoughts_in([]) == 0
    assert not has_thoughts(Message("assistant", "what does <think> mean?"))
    bare = stripped(Message("assistant", f"◁think▷x◁/think▷\n\n{THOUGHT}Yes", thoughts="z"))
    assert bare == Message("assistant", "Yes")


def test_both_renderings_of_a_row(model_folders: dict[str, Path], make_config: Any) -> None:
    encoder = Encoder(model_folders["thinking"], make_config(enable_thinking=None))
    row = Example("conversation", 1, TALK[:2])
    with_thoughts, without = (
        ("".join(p.text for p in pieces), "".join(p.text for p in pieces if p.part == "trained"))
        for pieces in thought_renderings(row, encoder)
    )
    assert with_thoughts[1] == f"{THOUGHT}Sunny.<|im_end|>\n"
    assert without[1] == "Sunny.<|im_end|>\n"
    assert with_thoughts[0] != without[0] and EMPTY in without[0]


def test_pairs_and_prompts_have_the_same_thoughts(
    stand_in: Path, byte_model: Path, make_config: Any
) -> None:
    from engine.datasets.encode_parts import encode_parts

    encoder = Encoder(byte_model, make_config(template="zephyr", enable_thinking=False))
    pair = Example("preference", 1, TALK[2:3], chosen=Message("assistant", f"{THOUGHT}Good."),
                   rejected=Message("assistant", "Bad."))  # fmt: skip
    (row,) = encode_parts(encoder, [pair], "pairs")
    texts = [encoder.tokenizer.decode(part) for part in row.parts]  # type: ignore[union-attr]
    assert texts[0].endswith(f"<say>{EMPTY}") and texts[1:] == ["Good.</say>\n", "Bad.</say>\n"]
    (asked,) = encode_parts(encoder, [Example("conversation", 1, TALK[2:])], "prompts")
    assert encoder.tokenizer.decode(asked.parts[0]) == texts[0]  # type: ignore[union-attr]
    on = Encoder(byte_model, make_config(template="zephyr"))
    (row,) = encode_parts(on, [pair], "pairs")
    texts = [encoder.tokenizer.decode(part) for part in row.parts]  # type: ignore[union-attr]
    # Both answers open with a thought: what they share belongs to neither alone.
    assert "".join(texts[:2]).endswith(f"<say>{THOUGHT}Good.</say>\n")
    assert "".join((texts[0], texts[2])).endswith(f"<say>{EMPTY}Bad.</say>\n")


def test_rule_51_glm4_makes_one_call_a_turn(own_template: Any, make_config: Any) -> None:
    glm = (
        "{{ '[gMASK]' }}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"
        "{% for m in messages %}{{ '<|' + ('observation' if m.role == 'tool' else m.role) + '|>' }}"
        "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
        "{{ '\n' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    encoder = Encoder(own_template(glm), make_config())
    assert encoder.chat.tool_format == "glm4"
    one = (TALK[0], Message("assistant", "", (CALL,)), Message("tool", "x"), TALK[3])
    encoder.encode(Example("conversation", 1, one, tools=(TOOL,)))
    two = (TALK[0], Message("assistant", "", (CALL, CALL)), Message("tool", "x"), TALK[3])
    with pytest.raises(BadInput, match="GLM-4's tool format has one call a turn"):
        encoder.encode(Example("conversation", 1, two, tools=(TOOL,)))


def test_a_tool_format_is_the_templates_own_or_refused(
    model_folders: dict[str, Path], own_template: Any, make_config: Any
) -> None:
    folder = model_folders["chatml"]
    assert Encoder(folder, make_config(tool_format="qwen")).chat.tool_format == "qwen"
    with pytest.raises(BadInput, match="'mistral', but the template in use writes tools the qwen"):
        Encoder(folder, make_config(tool_format="mistral"))
    own = own_template(
        "{% for t in tools or [] %}[AVAILABLE_TOOLS]{{ t | tojson }}{% endfor %}"
        "{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "[TOOL_CALLS]{{ c.function | tojson }}{% endfor %}{{ m.role + m.content }}{% endfor %}"
    )
    row = Example("conversation", 1, (TALK[0], Message("assistant", "", (CALL,))), tools=(TOOL,))
    kept = Encoder(own, make_config(tool_format="mistral"))
    assert "[TOOL_CALLS]" in kept.encode(row).text
    changed = Encoder(own, make_config(tool_format="qwen")).encode(row).text
    assert "<tools>" in changed and "<tool_call>\n{" in changed and "[TOOL_CALLS]" not in changed


def test_asking_for_thoughts_needs_no_torch() -> None:
    code = (
        "import sys; from engine.datasets.thoughts import thoughts_in; import engine.datasets;"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])


def checked(encoder: Encoder, folder: Path) -> str:
    from engine.datasets import open_rows
    from engine.datasets.checks import check_dataset

    return " ".join(check_dataset(open_rows("mine", str(folder)), encoder).notes)


def test_the_data_check_holds_thoughts_against_the_template(
    make_set: Any, model_folders: dict[str, Path], own_template: Any, make_config: Any
) -> None:
    plain = {"instruction": "Why?", "output": "So."}
    folder = make_set([plain, {**plain, "output": f"{THOUGHT}So."}])
    told = checked(Encoder(model_folders["chatml"], make_config()), folder)
    assert told == (
        "50 % of the answers hold thoughts, and this template has none: they are trained as "
        "ordinary text."
    )
    off = Encoder(model_folders["thinking"], make_config(enable_thinking=False))
    assert "false strips the thoughts of 50 % of the answers" in checked(off, folder)
    assert checked(Encoder(model_folders["thinking"], make_config()), folder) == ""
    bare = make_set([plain])
    on = Encoder(model_folders["thinking"], make_config())
    assert "No answer holds thoughts: enable_thinking: true trains" in checked(on, bare)
    assert checked(Encoder(model_folders["chatml"], make_config()), bare) == ""
    # As DeepSeek-R1: what stands before the answer is cut off.
    drops = own_template(
        "{% for m in messages %}{{ m.role + ':' + m.content.split('</think>')[-1] + '<|im_end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    folder = make_set([{**plain, "output": f"{THOUGHT}So."}])
    assert checked(Encoder(drops, make_config()), folder).endswith("none: it leaves them out.")


def test_rows_with_tools_are_told_of_a_format_that_is_not_read(
    stand_in: Path, make_set: Any, byte_model: Path, make_config: Any
) -> None:
    tools = json.dumps([TOOL["function"]])
    columns = {"prompt": "instruction", "response": "output", "tools": "tools"}
    rows = [{"instruction": "Why?", "output": "So.", "tools": tools}]
    folder = make_set(rows, columns=columns)
    told = checked(Encoder(byte_model, make_config(template="vicuna")), folder)
    assert "written the qwen way: template vicuna has default, which is code" in told
    assert "qwen way" not in checked(Encoder(byte_model, make_config(template="zephyr")), folder)
