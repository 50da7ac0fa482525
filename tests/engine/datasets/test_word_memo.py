"""Tokens word by word are the tokenizer's own, and what is marked in them is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers

from engine.datasets import Encoder, Example, Message
from engine.datasets.answers import rendered_answers
from engine.datasets.chat_format import ChatFormat
from engine.datasets.shapes import Shapes
from engine.datasets.tokenizer import FastTokenizer
from engine.datasets.word_memo import _LLAMA3, _PATTERNS, word_memo

PIECES = st.sampled_from(
    (
        *(" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\x1c", " a", "Paris", "'s", "'"),
        *(" 12", "3", ".", " -", "_", "你是", "é", "🙂", " The", " sunny and warm"),
        *("<|im_start|>", "<|im_end|>"),
    )
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=30).map("".join)
PRE_TOKENIZERS = {
    "gpt2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    **{
        f"pattern {place}": lambda pattern=pattern: pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        for place, pattern in enumerate(sorted(_PATTERNS))
    },
}


@pytest.fixture
def backend(model_folders: dict[str, Path]) -> Tokenizer:
    return FastTokenizer(model_folders["chatml"]).backend


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
@settings(deadline=None, max_examples=150)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_words_joined_are_the_text_as_tokens(
    model_folders: dict[str, Path], kind: str, texts: list[str]
) -> None:
    tokenizer = FastTokenizer(model_folders["chatml"]).backend
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[kind]()
    memo = word_memo(tokenizer)
    assert memo is not None
    whole = [list(item.ids) for item in tokenizer.encode_batch(texts, add_special_tokens=False)]
    for _ in range(2):  # once learned, once remembered
        assert memo.encode(texts) == whole
    for text, ids in zip(texts, whole, strict=True):
        starts = memo.starts(ids, text)
        assert starts is not None
        assert len(starts) == len(ids)
        assert starts[:1] in ([0], [])


def test_long_words_are_tokenised_and_forgotten(backend: Tokenizer) -> None:
    memo = word_memo(backend)
    assert memo is not None
    text = "a " + "b" * 300 + " c"
    whole = backend.encode(text, add_special_tokens=False).ids
    assert memo.encode([text]) == [whole] == memo.encode([text])
    assert not any(len(word) > 100 for word in memo._words)


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        pre_tokenizers.Metaspace(),
        pre_tokenizers.Split(Regex(_LLAMA3), "removed"),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\S+\s\S+"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
    ],
)
def test_other_pipelines_are_left_to_the_tokenizer(backend: Tokenizer, pre_tokenizer: Any) -> None:
    assert word_memo(backend) is not None
    backend.pre_tokenizer = pre_tokenizer
    assert word_memo(backend) is None


@pytest.mark.parametrize("options", [{"lstrip": True}, {"rstrip": True}, {"single_word": True}])
def test_an_added_token_that_takes_blanks_forbids_cutting(
    backend: Tokenizer, options: dict[str, bool]
) -> None:
    backend.add_special_tokens([AddedToken("<mark>", **options)])
    assert word_memo(backend) is None


def test_an_added_token_with_a_blank_forbids_cutting(backend: Tokenizer) -> None:
    backend.add_special_tokens([AddedToken("a b")])
    assert word_memo(backend) is None


CONTENTS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3)


@pytest.mark.parametrize("template", ["chatml", "llama3", "gemma", "mistral", "thinking"])
@pytest.mark.parametrize("changes", [{}, {"mask_history": True}, {"cutoff_len": 24}])
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # make_config keeps nothing
)
@given(conversations=st.lists(CONTENTS, min_size=1, max_size=4))
def test_many_rows_at_once_are_the_rows_one_by_one(
    model_folders: dict[str, Path],
    make_config: Any,
    template: str,
    changes: dict[str, Any],
    conversations: list,
) -> None:
    encoder = Encoder(model_folders[template], make_config(**changes))
    plain = Encoder(model_folders[template], make_config(**changes))
    plain._shapes.answers = lambda turns: None  # type: ignore[method-assign]
    plain.__dict__["_memo"] = None
    examples = [
        Example(
            "conversation",
            place,
            tuple(
                message
                for asked, answer in turns
                for message in (Message("user", asked), Message("assistant", answer))
            ),
        )
        for place, turns in enumerate(conversations, 1)
    ]
    assert encoder.encode_batch(examples) == plain.encode_batch(examples)


@pytest.mark.parametrize("template", ["chatml", "llama3", "gemma", "mistral", "thinking"])
def test_shapes_find_the_answers_in_one_rendering(
    model_folders: dict[str, Path], template: str
) -> None:
    chat = ChatFormat(FastTokenizer(model_folders[template]))
    turns = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "I am <b>here</b>."},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "Here."},
    ]
    found = Shapes(chat).answers(turns)
    if template != "thinking":  # its earlier and its last answers are written differently
        assert found is not None
    assert found in (None, rendered_answers(chat, turns, None))


def test_a_content_that_the_template_alters_is_left_to_the_long_way(
    model_folders: dict[str, Path],
) -> None:
    chat = ChatFormat(FastTokenizer(model_folders["llama3"]))  # trims
    turns = [{"role": "user", "content": " u "}, {"role": "assistant", "content": "a"}]
    assert Shapes(chat).answers(turns) is None
