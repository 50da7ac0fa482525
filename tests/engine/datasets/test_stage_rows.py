"""Pairs, feedback and prompts as tokens: the same tokens that SFT and chat use, and none lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.datasets.encode import Encoder
from engine.datasets.encode_parts import as_text, encode_parts
from engine.datasets.example import Example, Message, RowProblem
from engine.datasets.stage_rows import EncodedParts, PartRows, form_of

TEMPLATES = ["chatml", "llama3", "gemma", "mistral", "thinking"]
ASKED = (Message("user", "Which is right?"),)


def pair(chosen: str = "This one.", rejected: str = "That one!", asked: tuple = ASKED) -> Example:
    better, worse = Message("assistant", chosen), Message("assistant", rejected)
    return Example("preference", 1, asked, chosen=better, rejected=worse)


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_pair_is_the_two_conversations_that_sft_would_train(
    model: str, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders[model], make_config())
    (row,) = encode_parts(encoder, [pair()], "pairs")
    assert isinstance(row, EncodedParts) and row.cut == 0
    prompt, chosen, rejected = row.parts
    for answer, text in ((chosen, "This one."), (rejected, "That one!")):
        whole = encoder.encode(Example("conversation", 1, (*ASKED, Message("assistant", text))))
        assert whole.ids[: len(prompt) + len(answer)] == prompt + answer
        # What follows the answer's closing token is nobody's answer.
        assert not any(whole.trained[len(prompt) + len(answer) :])
        assert text in encoder.tokenizer.decode(answer)


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_prompt_is_what_chat_asks_with(
    model: str, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders[model], make_config())
    talk = Example("conversation", 1, (*ASKED, Message("assistant", "Both.")))
    for example, answer in ((talk, "Both."), (pair(), "This one.")):
        (row,) = encode_parts(encoder, [example], "prompts")
        assert isinstance(row, EncodedParts)
        assert row.extra == (encoder.render_prompt(ASKED), answer)
        assert row.parts == (encoder.tokenizer.encode(row.extra[0]),)
    (row,) = encode_parts(encoder, [Example("conversation", 2, ASKED)], "prompts")
    assert isinstance(row, EncodedParts) and row.extra[1] == ""


def test_feedback_keeps_its_label(model_folders: dict[str, Path], make_config: Any) -> None:
    encoder = Encoder(model_folders["chatml"], make_config())
    talk = (*ASKED, Message("assistant", "Both."))
    rows = [Example("feedback", 1, talk, label=True), Example("feedback", 2, talk, label=False)]
    good, bad = encode_parts(encoder, rows, "feedback")
    assert isinstance(good, EncodedParts) and isinstance(bad, EncodedParts)
    assert (good.parts, good.extra, bad.extra) == (bad.parts, (True,), (False,))
    assert encoder.tokenizer.decode(good.parts[1]).startswith("Both.")
    (fault,) = encode_parts(encoder, [Example("feedback", 3, talk)], "feedback")
    assert isinstance(fault, RowProblem) and fault.row == 3


def test_rows_that_teach_nothing_are_told(model_folders: dict[str, Path], make_config: Any) -> None:
    encoder = Encoder(model_folders["chatml"], make_config())
    same, lone = pair("Yes.", "Yes."), Example("conversation", 7, ASKED)
    first, second = encode_parts(encoder, [same, lone], "pairs")
    assert isinstance(first, RowProblem) and "the same" in first.reason
    assert isinstance(second, RowProblem) and second.row == 7
    short = Encoder(model_folders["chatml"], make_config(cutoff_len=4))
    (cut,) = encode_parts(short, [pair("x" * 200 + "a", "x" * 200 + "b")], "pairs")
    assert isinstance(cut, RowProblem) and "cutoff" in cut.reason


@hypothesis_settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 300), st.integers(16, 200))
def test_the_cutoff_holds_for_both_answers(
    model_folders: dict[str, Path],
    make_config: Any,
    asked: int,
    better: int,
    worse: int,
    cutoff: int,
) -> None:
    encoder = Encoder(model_folders["chatml"], make_config(cutoff_len=cutoff))
    example = pair("a" * better, "b" * worse, (Message("user", "q" * asked),))
    (row,) = encode_parts(encoder, [example], "pairs")
    whole = Encoder(model_folders["chatml"], make_config(cutoff_len=100_000))
    (full,) = encode_parts(whole, [example], "pairs")
    assert isinstance(full, EncodedParts)
    if isinstance(row, RowProblem):  # the cutoff left nothing that tells the answers apart
        assert "cutoff" in row.reason
        assert len(full.parts[0]) + max(len(full.parts[1]), len(full.parts[2])) > cutoff
        return
    prompt, chosen, rejected = row.parts
    assert len(prompt) + max(len(chosen), len(rejected)) <= cutoff
    assert full.parts[1][: len(chosen)] == chosen and full.parts[2][: len(rejected)] == rejected
    lost = 2 * (len(full.parts[0]) - len(prompt))
    lost += len(full.parts[1]) - len(chosen) + len(full.parts[2]) - len(rejected)
    assert row.cut == lost
    # The words that open the answer's turn stay, whatever else goes.
    assert prompt[-1:] == full.parts[0][-1:] or not prompt


def test_text_of_a_conversation_for_pre_training(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    for model in TEMPLATES:
        encoder = Encoder(model_folders[model], make_config(stage="pt", packing=False))
        talk = Example("conversation", 1, (*ASKED, Message("assistant", "Both.")))
        row = encoder.encode(as_text(encoder, talk))
        assert all(row.trained)
        assert "Which is right?" in row.text and "Both." in row.text
        bos = encoder.tokenizer.bos_id
        if bos is not None:
            assert row.ids.count(bos) <= 1


def test_forms_follow_the_stage() -> None:
    assert [form_of(stage) for stage in ("pt", "sft", "distill")] == ["tokens"] * 3
    assert form_of("distill", on_samples=True) == "prompts"
    assert [form_of(stage) for stage in ("rm", "dpo", "kto")] == ["pairs", "pairs", "feedback"]


def test_rows_come_back_as_they_went_in() -> None:
    rows = PartRows(("prompt_ids", "completion_ids"), ("label",))
    rows.append(EncodedParts(([1, 2], [3]), (True,)))
    rows.append(EncodedParts(([], [4, 5, 6]), (False,), cut=2))
    assert list(rows) == [
        {"prompt_ids": [1, 2], "completion_ids": [3], "label": True},
        {"prompt_ids": [], "completion_ids": [4, 5, 6], "label": False},
    ]
    assert (len(rows), rows.tokens, rows.lengths()) == (2, 6, [3, 3])
    assert (rows.cut_rows, rows.cut_tokens) == (1, 2)
    with pytest.raises(IndexError):
        rows[2]
