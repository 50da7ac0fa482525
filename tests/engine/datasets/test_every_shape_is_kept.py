"""Properties of the rarer shapes of rows, and of what stands between rows and a trainer: nothing is
lost, reordered or altered by converting, encoding, streaming, caching or taking tokens over."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets import Encoder, Example, Message, open_rows, prepare
from engine.datasets.checks import SeenRows, check_dataset, content_of
from engine.datasets.encode_parts import encode_parts
from engine.datasets.medium import Medium
from engine.datasets.parallel import encoding
from engine.datasets.stage_rows import EncodedParts, form_of
from engine.datasets.token_cache import load, save

from .test_nothing_is_lost import (
    ALPACA,
    LABELLED,
    PAIRS,
    SAID,
    TEXT,
    TOOLS,
    alpaca_rows,
    as_tools,
    from_alpaca,
    labelled,
    pairs,
    read_back,
)

Row = dict[str, Any]
HISTORY = st.lists(st.tuples(SAID, SAID).map(list), max_size=2)
NAMES = st.from_regex(r"[a-z]{1,6}\.png", fullmatch=True)


def turns_of(history: list[list[str]], asked: str) -> tuple[Message, ...]:
    said = [
        one for ask, say in history for one in (Message("user", ask), Message("assistant", say))
    ]
    return (*said, Message("user", asked))


def as_turns(history: list[list[str]], asked: str, ask: str, say: str, key: str, text: str) -> Any:
    """Turns of a message list whose fields are `key` and `text`."""
    made = [{key: who, text: what} for pair in history
            for who, what in zip((ask, say), pair, strict=True)]  # fmt: skip
    return [*made, {key: ask, text: asked}]


# Preference rows as message lists: the prompt may have a history, answers are one message each.
list_pairs = st.fixed_dictionaries(
    {"history": HISTORY, "asked": SAID, "chosen": SAID, "rejected": SAID, "tools": TOOLS}
)
SHAREGPT_PAIRS = {
    "formatting": "sharegpt",
    "ranking": True,
    "columns": {
        "messages": "conversations",
        "chosen": "chosen",
        "rejected": "rejected",
        "tools": "tools",
    },
}
OPENAI_PAIRS = {"formatting": "openai", "ranking": True}
SHAREGPT_FEEDBACK = {
    "formatting": "sharegpt",
    "columns": {"messages": "conversations", "kto_tag": "label"},
}


def sharegpt_pair(row: Row) -> Row:
    return {
        "conversations": as_turns(row["history"], row["asked"], "human", "gpt", "from", "value"),
        "chosen": {"from": "gpt", "value": row["chosen"]},
        "rejected": {"from": "gpt", "value": row["rejected"]},
        "tools": json.dumps(row["tools"]),
    }


def openai_pair(row: Row) -> Row:
    roles = ("user", "assistant", "role", "content")
    return {
        "messages": as_turns(row["history"], row["asked"], *roles),
        "chosen": {"role": "assistant", "content": row["chosen"]},
        "rejected": [{"role": "assistant", "content": row["rejected"]}],
        "tools": row["tools"],
    }


def as_pair(row: Row) -> Example:
    better, worse = (Message("assistant", row[name]) for name in ("chosen", "rejected"))
    asked = turns_of(row["history"], row["asked"])
    tools = as_tools(row["tools"])
    return Example("preference", 0, asked, tools=tools, chosen=better, rejected=worse)


list_feedback = st.fixed_dictionaries(
    {"history": HISTORY, "asked": SAID, "answer": SAID, "label": st.booleans()}
)


def sharegpt_feedback(row: Row) -> Row:
    turns = as_turns(row["history"], row["asked"], "human", "gpt", "from", "value")
    answer = {"from": "gpt", "value": row["answer"]}
    # As text, as JSON has it, and as tables of numbers write it.
    label = {True: "true", False: "False"}[row["label"]]
    return {"conversations": [*turns, answer], "label": label}


def as_feedback(row: Row) -> Example:
    asked = turns_of(row["history"], row["asked"])
    return Example("feedback", 0, (*asked, Message("assistant", row["answer"])), label=row["label"])


# What people ask about pictures: as many places as pictures, anywhere in the text.
pictured = st.fixed_dictionaries(
    {"images": st.lists(NAMES, min_size=1, max_size=3), "asked": SAID, "output": SAID}
).filter(lambda row: "<image>" not in row["asked"] + row["output"])
PICTURED = {"columns": {"prompt": "instruction", "response": "output", "images": "images"}}


def alpaca_pictured(row: Row) -> Row:
    asked = "<image>" * len(row["images"]) + row["asked"]
    return {"instruction": asked, "output": row["output"], "images": row["images"]}


def as_pictured(row: Row) -> Example:
    turns = (
        Message("user", alpaca_pictured(row)["instruction"]),
        Message("assistant", row["output"]),
    )
    media = tuple(Medium("image", name) for name in row["images"])
    return Example("conversation", 0, turns, media=media)


thought = st.fixed_dictionaries({"instruction": SAID, "thoughts": TEXT, "output": SAID})


def alpaca_thought(row: Row) -> Row:
    return {
        "instruction": row["instruction"],
        "output": f"<think>\n{row['thoughts']}\n</think>\n\n{row['output']}",
    }


def as_thought(row: Row) -> Example:
    """Thoughts written into the answer stay there, letter for letter."""
    answer = Message("assistant", alpaca_thought(row)["output"])
    return Example("conversation", 0, (Message("user", row["instruction"]), answer))


texts = st.fixed_dictionaries({"text": SAID})
TEXTS = {"columns": {"prompt": "text"}}


def same(row: Row) -> Row:
    return row


def as_text(row: Row) -> Example:
    return Example("text", 0, text=row["text"])


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("rows", "written_as", "entry", "wanted"),
    [
        (list_pairs, sharegpt_pair, SHAREGPT_PAIRS, as_pair),
        (list_pairs, openai_pair, OPENAI_PAIRS, as_pair),
        (list_feedback, sharegpt_feedback, SHAREGPT_FEEDBACK, as_feedback),
        (pictured, alpaca_pictured, PICTURED, as_pictured),
        (thought, alpaca_thought, {}, as_thought),
        (texts, same, TEXTS, as_text),
        (alpaca_rows, same, ALPACA, from_alpaca),
    ],
    ids=["sharegpt pairs", "openai pairs", "sharegpt feedback", "pictures", "thoughts", "texts",
         "history"],
)  # fmt: skip
def test_every_shape_comes_back_as_it_was_written(
    rows: st.SearchStrategy[Row],
    written_as: Callable[[Row], Row],
    entry: Row,
    wanted: Callable[[Row], Example],
    kind: str,
) -> None:
    @settings(max_examples=15, deadline=None)
    @given(st.lists(rows, min_size=1, max_size=4))
    def check(given_rows: list[Row]) -> None:
        expected = [replace(wanted(row), source_row=n) for n, row in enumerate(given_rows, 1)]
        found = read_back([written_as(row) for row in given_rows], kind, entry)
        assert found == expected

    check()


def some_rows(draw: Any, shape: st.SearchStrategy[Row], entry: Row, folder: Path) -> None:
    """A set `mine` of a few rows, some of which can't be used."""
    good = draw(st.lists(shape, min_size=1, max_size=6))
    rows: list[Any] = [*good, {"other": 1}, draw(shape)]
    (folder / "mine.json").write_text(json.dumps(draw(st.permutations(rows))))
    (folder / "dataset_info.json").write_text(
        json.dumps({"mine": {"file_name": "mine.json", **entry}})
    )


SHAPES: list[Any] = [
    pytest.param("sft", alpaca_rows, ALPACA, id="sft"),
    pytest.param("pt", alpaca_rows, ALPACA, id="pt"),
    pytest.param(
        "dpo", pairs.filter(lambda row: row["chosen"] != row["rejected"]), PAIRS, id="dpo"
    ),
    pytest.param("kto", labelled, LABELLED, id="kto"),
    pytest.param("ppo", alpaca_rows, ALPACA, id="ppo"),
]


@pytest.mark.parametrize(("stage", "shape", "entry"), SHAPES)
def test_streamed_kept_and_seen_rows_are_those_that_are_made_at_once(
    stage: str,
    shape: st.SearchStrategy[Row],
    entry: Row,
    model_folders: dict[str, Path],
    make_config: Any,
) -> None:
    common = {"dataset": "mine", "stage": stage, "cutoff_len": 64, "packing": False}
    if stage == "ppo":
        common |= {"reward_model": "x", "reward_model_type": "api"}
    encoder = Encoder(model_folders["chatml"], make_config(**common))

    @settings(max_examples=12, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            some_rows(data.draw, shape, entry, folder)
            config = make_config(**common, dataset_dir=made)
            plain = prepare(config, encoder)
            rows = [dict(row) for row in plain.train]
            # As they are read while the run trains; bad ones are stood in for by the next.
            stream = make_config(**common, dataset_dir=made, streaming=True, max_steps=2)
            streamed = prepare(stream, encoder).train
            numbers = list(streamed.order(1, 0, True))
            assert sorted(numbers) == list(range(len(rows) + len(plain.dropped)))
            found = [streamed[place] for place in range(len(streamed))]
            assert [row for place, row in enumerate(found)
                    if place not in {bad.row - 1 for bad in plain.dropped}] == rows  # fmt: skip
            # As they are kept on disk.
            save(plain, {"is": "this"}, folder / "kept")
            again = load(folder / "kept")
            assert again is not None and again[1] == {"is": "this"}
            assert [dict(row) for row in again[0].train] == rows
            assert (again[0].counts, again[0].dropped) == (plain.counts, plain.dropped)
            # As the check hands them on: nothing is encoded a second time.
            seen = SeenRows(form_of(stage))
            check_dataset(open_rows("mine", folder), encoder, stage=stage, seen=seen)

            def refused(_blocks: Any) -> Any:
                raise AssertionError("a row that the check saw was encoded anew")

            handed = prepare(config, encoder, over=lambda _real: seen.over(refused, content_of))
            assert [dict(row) for row in handed.train] == rows
            assert handed.dropped == plain.dropped

    check()


def test_rows_that_changed_since_the_check_are_made_anew(
    model_folders: dict[str, Path], make_config: Any, make_set: Any
) -> None:
    folder = make_set([{"instruction": f"q{n}", "output": f"a{n}"} for n in range(5)])
    config = make_config(dataset="mine", dataset_dir=str(folder))
    encoder = Encoder(model_folders["chatml"], config)
    seen = SeenRows("tokens")
    check_dataset(open_rows("mine", folder), encoder, seen=seen)
    make_set([{"instruction": f"q{n}", "output": f"b{n}"} for n in range(5)])
    handed = prepare(config, encoder, over=lambda real: seen.over(real, content_of))
    assert [dict(row) for row in handed.train] == [
        dict(row) for row in prepare(config, encoder).train
    ]


def test_more_tokens_than_are_held_are_given_up(
    model_folders: dict[str, Path], make_config: Any, make_set: Any
) -> None:
    folder = make_set([{"instruction": f"q{n}", "output": "a" * 50} for n in range(5)])
    encoder = Encoder(model_folders["chatml"], make_config())
    seen = SeenRows("tokens", most=60)
    check_dataset(open_rows("mine", folder), encoder, seen=seen)
    assert seen.given_up
    here = encoding(encoder, "tokens", "sft")
    rows = [row for row in (open_rows("mine", folder).example(n) for n in range(5))
            if isinstance(row, Example)]  # fmt: skip
    (block,) = seen.over(lambda blocks: map(here, blocks), content_of)([rows])
    assert list(block) == list(here(rows))


def test_a_pair_as_tokens_reads_as_its_two_answers(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["chatml"], make_config(stage="dpo", cutoff_len=4096))

    def text(*parts: list[int]) -> str:
        ids = [one for part in parts for one in part]
        return encoder.tokenizer.backend.decode(ids, skip_special_tokens=False)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(list_pairs, min_size=1, max_size=4))
    def check(rows: list[Row]) -> None:
        examples = [replace(as_pair(row), source_row=n, tools=()) for n, row in enumerate(rows, 1)]
        for example, made in zip(examples, encode_parts(encoder, examples, "pairs"), strict=True):
            assert example.chosen is not None and example.rejected is not None
            if example.chosen == example.rejected:
                assert not isinstance(made, EncodedParts) and "the same" in made.reason
                continue
            assert isinstance(made, EncodedParts) and made.cut == 0
            prompt, *answers = made.parts
            for answer, said in zip(answers, (example.chosen, example.rejected), strict=True):
                whole = encoder.whole_text(replace(example, chosen=said))
                assert whole.startswith(text(prompt, answer))
                assert said.content.strip() in text(prompt, answer)

    check()
