"""The trained part is what rendering with the answer adds to rendering without it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.datasets import Encoder, Example, Message
from engine.datasets.template import render
from engine.problem import BadInput

PREFIX_STABLE = ["chatml", "llama3", "gemma", "mistral"]
TALK = (
    Message("user", "What is the weather?"),
    Message("assistant", "It is sunny. 今天很好 🙂"),
    Message("user", "你是谁？"),
    Message("assistant", "I am Nova"),
)
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"city": "Paris"}}}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "d", "parameters": {}}}


def talk(*messages: Message, **more: Any) -> Example:
    return Example("conversation", 1, messages, **more)


def trained_runs(encoder: Encoder, example: Example) -> list[str]:
    """The text of each unbroken run of trained tokens."""
    runs: list[str] = []
    before = "prompt"
    for piece in encoder.pieces(example):
        if piece.part == "trained":
            if before != "trained":
                runs.append("")
            runs[-1] += piece.text
        before = piece.part
    return runs


@pytest.mark.parametrize("name", PREFIX_STABLE)
def test_each_answer_is_what_it_adds(
    name: str, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders[name], make_config())
    plain = [{"role": m.role, "content": m.content} for m in TALK]
    special = encoder.tokenizer.special_tokens
    expected = []
    for i in (1, 3):
        without = render(encoder.template_source, plain[:i], special, None, True)
        having = render(encoder.template_source, plain[: i + 1], special)
        assert having.startswith(without)
        expected.append(having[len(without) :])
    assert trained_runs(encoder, talk(*TALK)) == expected
    end = encoder.tokenizer.special_tokens["eos_token"]
    assert all(end in run for run in expected)


def test_thoughts_that_the_template_strips_from_history(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["thinking"], make_config())
    first = Message("assistant", "Sunny.", thoughts="It is May.")
    last = Message("assistant", "Nova.", thoughts="Who am I?")
    example = talk(TALK[0], first, TALK[2], last)
    assert trained_runs(encoder, example) == [
        "Sunny.<|im_end|>\n",
        "<think>\nWho am I?\n</think>\n\nNova.<|im_end|>\n",
    ]
    inline = talk(TALK[0], Message("assistant", "<think>\nMay\n</think>\n\nSunny."), *TALK[2:])
    assert trained_runs(encoder, inline) == [
        "Sunny.<|im_end|>\n",
        "<think>\n\n</think>\n\nI am Nova<|im_end|>\n",
    ]


@pytest.mark.parametrize("name", [*PREFIX_STABLE, "thinking", "base"])
def test_tool_calls_and_the_text_beside_them_are_learnt(
    name: str, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders[name], make_config())
    example = talk(
        TALK[0],
        Message("assistant", "Let me see.", (CALL,)),
        Message("tool", '{"sky": "blue"}'),
        Message("assistant", "Sunny."),
        tools=(TOOL,),
        system="Be brief.",
    )
    runs = trained_runs(encoder, example)
    assert len(runs) == 2
    assert "Let me see." in runs[0] and '"look_up"' in runs[0] and "Paris" in runs[0]
    assert "Sunny." in runs[1] and "blue" not in "".join(runs)
    whole = encoder.encode(example).text
    assert '"sky": "blue"' in whole
    assert '"description": "d"' in whole


@pytest.mark.parametrize("name", PREFIX_STABLE)
def test_a_system_text_is_never_lost(
    name: str, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders[name], make_config(default_system="Answer in verse."))
    assert "Answer in verse." in encoder.encode(talk(*TALK)).text
    own = encoder.encode(talk(*TALK, system="Be brief.")).text
    assert "Be brief." in own and "verse" not in own
    assert "Answer in verse." in encoder.render_prompt([{"role": "user", "content": "hi"}])


def test_tool_result_at_the_end_is_kept(model_folders: dict[str, Path], make_config: Any) -> None:
    encoder = Encoder(model_folders["chatml"], make_config())
    call = Message("assistant", "", (CALL,))
    row = encoder.encode(talk(TALK[0], call, Message("tool", "42 degrees"), tools=(TOOL,)))
    assert "42 degrees" in row.text
    assert any(row.trained) and not row.trained[-1]


def test_train_on_prompt_and_mask_history(model_folders: dict[str, Path], make_config: Any) -> None:
    folder = model_folders["chatml"]
    assert all(Encoder(folder, make_config(train_on_prompt=True)).encode(talk(*TALK)).trained)
    last = Encoder(folder, make_config(mask_history=True))
    assert trained_runs(last, talk(*TALK)) == ["I am Nova<|im_end|>\n"]


def test_base_model_gets_the_plain_format_and_says_so(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["base"], make_config())
    assert "no chat template" in encoder.notes[0]
    assert trained_runs(encoder, talk(*TALK)) == [
        "It is sunny. 今天很好 🙂<|endoftext|>\n",
        "I am Nova<|endoftext|>\n",
    ]
    asked = encoder.render_prompt(TALK[:1])
    assert asked == "Human: What is the weather?<|endoftext|>\nAssistant:"


def test_template_names(model_folders: dict[str, Path], make_config: Any) -> None:
    for model, name in [
        ("chatml", "smollm2"),
        ("chatml", "qwen"),
        ("llama3", "llama3"),
        ("gemma", "gemma2"),
        ("mistral", "mistral"),
        ("chatml", "default"),
    ]:
        Encoder(model_folders[model], make_config(template=name))
    with pytest.raises(BadInput, match=r"'llama3'.*looks like chatml"):
        Encoder(model_folders["chatml"], make_config(template="llama3"))
    with pytest.raises(BadInput, match="Did you mean llama3"):
        Encoder(model_folders["chatml"], make_config(template="lama3"))
    with pytest.raises(BadInput, match="no chat template of its own"):
        Encoder(model_folders["base"], make_config(template="qwen"))


def test_a_template_that_eats_the_answer_is_told(
    tmp_path: Path, model_folders: dict[str, Path], make_config: Any
) -> None:
    source = model_folders["chatml"]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    encoder = Encoder(tmp_path, make_config())
    with pytest.raises(BadInput, match="drops the answer of turn 2"):
        encoder.encode(talk(*TALK[:2]))


def test_eos_ids_hold_the_end_of_turn(model_folders: dict[str, Path], make_config: Any) -> None:
    encoder = Encoder(model_folders["base"], make_config(template="default"))
    assert encoder.eos_ids == (encoder.tokenizer.backend.token_to_id("<|endoftext|>"),)
    chat = Encoder(model_folders["chatml"], make_config())
    assert chat.tokenizer.backend.token_to_id("<|im_end|>") in chat.eos_ids


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: bool(text.strip()) and "<|" not in text
)


@pytest.mark.parametrize("name", PREFIX_STABLE)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(WORDS, min_size=2, max_size=6))
def test_any_text_keeps_ids_pieces_and_mask_together(
    name: str, texts: list[str], model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders[name], make_config())
    texts = texts[: len(texts) // 2 * 2]
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(texts))
    row = encoder.encode(talk(*messages))
    pieces = encoder.pieces(talk(*messages))
    assert row.ids == encoder.tokenizer.encode(row.text) == [piece.id for piece in pieces]
    assert "".join(piece.text for piece in pieces) == row.text
    assert row.labels == [i if t else -100 for i, t in zip(row.ids, row.trained, strict=True)]
    # A token across the border belongs to the prompt, and nothing beyond it does.
    prompt = encoder.render_prompt(messages[:1])
    first = row.trained.index(True)
    assert len("".join(piece.text for piece in pieces[:first])) >= len(prompt)
    assert len("".join(piece.text for piece in pieces[: first - 1])) < len(prompt)


def test_batching_changes_nothing(model_folders: dict[str, Path], make_config: Any) -> None:
    encoder = Encoder(model_folders["llama3"], make_config(cutoff_len=24))
    source = random.Random(7)
    rows = [
        talk(Message("user", "a" * source.randint(1, 40)), Message("assistant", "b c " * n))
        for n in range(1, 20)
    ]
    assert encoder.encode_batch(rows) == [encoder.encode(row) for row in rows]
