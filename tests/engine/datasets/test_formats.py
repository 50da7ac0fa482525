"""Rows of each published format become examples: nothing lost, faults told with the row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.datasets import Example, Fill, RowProblem, open_rows
from engine.paths import bundled_data_dir

RANKED = {"ranking": True}
KTO = {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "ok"}}
SHARE = {"formatting": "sharegpt"}
OPENAI = {"formatting": "openai"}


def turn(role: str, text: str) -> dict[str, str]:
    return {"from": role, "value": text}


def first(make_set: Any, row: Any, **entry: Any) -> Example | RowProblem:
    return open_rows("mine", make_set([row], **entry)).example(0)


def good(make_set: Any, row: Any, **entry: Any) -> Example:
    found = first(make_set, row, **entry)
    assert isinstance(found, Example), found
    return found


def test_alpaca_with_everything(make_set: Any) -> None:
    columns = {"prompt": "i", "query": "x", "response": "o", "system": "s", "history": "h"}
    row = {"i": "Translate.", "x": "Hallo", "o": "Hello", "s": "Be brief.", "h": [["q", "a"]]}
    example = good(make_set, row, columns=columns)
    assert [(m.role, m.content) for m in example.messages] == [
        ("user", "q"),
        ("assistant", "a"),
        ("user", "Translate.\nHallo"),
        ("assistant", "Hello"),
    ]
    assert example.system == "Be brief."


def test_alpaca_pairs_and_labels(make_set: Any) -> None:
    pair = good(make_set, {"instruction": "q", "chosen": "good", "rejected": "bad"}, **RANKED)
    assert pair.kind == "preference" and pair.chosen and pair.rejected
    assert (pair.chosen.content, pair.rejected.content) == ("good", "bad")
    for value, label in ((True, True), (False, False), ("false", False), (1, True)):
        row = good(make_set, {"instruction": "q", "output": "a", "ok": value}, **KTO)
        assert row.kind == "feedback" and row.label is label


def test_sharegpt_with_tools(make_set: Any) -> None:
    calls = [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}]
    row = {
        "conversations": [
            turn("system", "Be brief."),
            turn("human", "q"),
            turn("function_call", "One moment.\n" + json.dumps(calls)),
            turn("observation", "42"),
        ],
        "t": json.dumps([{"name": "a", "description": "d", "parameters": {}}]),
    }
    columns = {"messages": "conversations", "tools": "t"}
    example = good(make_set, row, columns=columns, **SHARE)
    assert example.system == "Be brief."
    assert [m.role for m in example.messages] == ["user", "assistant", "tool"]
    assert example.messages[1].content == "One moment."
    assert [call["function"]["name"] for call in example.messages[1].tool_calls] == ["a", "b"]
    assert example.tools[0]["function"]["description"] == "d"


def test_openai_with_tools_and_parts(make_set: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    row = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": "Wait.", "tool_calls": [call, call]},
            {"role": "tool", "content": "1", "name": "f"},
            {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "a", "reasoning_content": "why"},
        ]
    }
    example = good(make_set, row, **OPENAI)
    assert example.system == "Be brief." and example.messages[0].content == "q"
    assert example.messages[1].content == "Wait."
    assert example.messages[1].tool_calls[0]["function"]["arguments"] == {"x": 1}
    assert [m.content for m in example.messages[2:4]] == ["1", "2"]
    assert example.messages[4].thoughts == "why"


def test_media_stay_as_placeholders(make_set: Any) -> None:
    row = {
        "conversations": [turn("human", "<image>What?"), turn("gpt", "A cat.")],
        "pics": ["a.png"],
    }
    columns = {"messages": "conversations", "images": "pics"}
    example = good(make_set, row, columns=columns, **SHARE)
    assert example.media == (("image", "a.png"),) and example.messages[0].content == "<image>What?"


@pytest.mark.parametrize(
    ("row", "entry", "reason"),
    [
        ({"instruction": "q", "output": ""}, {}, "no answer"),
        ({"instruction": "q"}, {}, "no answer ('output' is missing)"),
        ({"instruction": "", "output": "a"}, {}, "no question"),
        ({"instruction": "q", "output": 3}, {}, "'output' holds 3, not text"),
        (
            {"instruction": "q", "output": "a"},
            {"columns": {"prompt": "instruction", "response": "x"}},
            "no answer",
        ),
        ({"instruction": "q", "chosen": "a"}, RANKED, "no answer ('rejected' is missing)"),
        ({"instruction": "q", "output": "a", "ok": "maybe"}, KTO, "true or false"),
        (
            {"instruction": "q", "output": "a", "h": [["q"]]},
            {"columns": {"prompt": "instruction", "response": "output", "history": "h"}},
            "pair",
        ),
        ({}, SHARE, "'conversations' is missing"),
        ({"conversations": "hi"}, SHARE, "not a list"),
        ({"conversations": []}, SHARE, "no messages"),
        ({"conversations": [turn("gpt", "a")]}, SHARE, "first turn is the assistant's"),
        ({"conversations": [turn("human", "q")]}, SHARE, "last turn is the user's"),
        (
            {"conversations": [turn("human", "q"), turn("human", "q")]},
            SHARE,
            "turn 2 is a user turn right after a user turn",
        ),
        (
            {"conversations": [turn("human", "q"), turn("gpt", "a"), turn("gpt", "a")]},
            SHARE,
            "turn 3 is an assistant turn right after an assistant turn",
        ),
        (
            {"conversations": [turn("human", "q"), turn("gpt", " ")]},
            SHARE,
            "turn 2, the assistant's",
        ),
        ({"conversations": [turn("human", "q"), turn("bot", "a")]}, SHARE, 'the role "bot"'),
        ({"conversations": [turn("human", "q"), {"from": "gpt"}]}, SHARE, "turn 2 has no text"),
        (
            {"conversations": [turn("human", "q"), turn("function_call", "{oops")]},
            SHARE,
            "not valid JSON",
        ),
        ({"conversations": [turn("human", "q"), None]}, SHARE, "turn 2 is null"),
        ({"messages": [{"role": "user", "content": "q"}]}, OPENAI, "last turn is the user's"),
        ({"messages": [{"content": "q"}]}, OPENAI, "turn 1 has no known role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            OPENAI,
            'turn 1 holds "smell", which is no part known here',
        ),
        ({"text": " "}, {"columns": {"prompt": "text"}}, "is empty"),
        ([1], {}, "a list, not an object"),
    ],
)
def test_a_bad_row_is_told(row: Any, entry: dict[str, Any], reason: str, make_set: Any) -> None:
    found = first(make_set, row, **entry)
    assert isinstance(found, RowProblem), found
    assert found.row == 1 and found.dataset == "mine" and reason in found.reason


def test_placeholders_are_filled_in_the_bundled_set_only(make_set: Any) -> None:
    fill = Fill("Nova", "the Lumen team")
    row = {"instruction": "Who are you?", "output": "I am {{name}} by {{ author }}."}
    rows = open_rows("mine", make_set([row]), fill)
    assert rows.example(0).messages[1].content == row["output"]  # type: ignore[union-attr]
    assert fill.text(row["output"]) == "I am Nova by the Lumen team."
    assert Fill("", None).text(row["output"]) == row["output"]

    path = bundled_data_dir() / "identity.json"
    if not path.is_file():
        pytest.skip("the bundled sets are not here")
    folder = make_set(path.read_bytes(), "identity.json")
    registry = {"identity": {"file_name": "identity.json"}}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    copied = open_rows("identity", folder, fill)
    texts = [copied.example(i).messages[-1].content for i in range(len(copied))]  # type: ignore[union-attr]
    assert copied.filled and any("Nova" in text for text in texts)
    assert not any("{{" in text for text in texts)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
FOREIGN = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FOREIGN
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), lines=st.booleans())
def test_converting_loses_reorders_and_alters_nothing(
    pairs: list[tuple[str, str]], lines: bool, make_set: Any
) -> None:
    rows = [{"instruction": q, "input": "", "output": a} for q, a in pairs]
    content: Any = "\n".join(json.dumps(row) for row in rows) if lines else rows
    index = open_rows("mine", make_set(content, "mine.jsonl" if lines else "mine.json"))
    back = [index.example(i) for i in range(len(index))]
    assert [tuple(m.content for m in row.messages) for row in back] == pairs  # type: ignore[union-attr]
    assert [row.source_row for row in back] == list(range(1, len(pairs) + 1))  # type: ignore[union-attr]


@FOREIGN
@given(texts=st.lists(TEXT, min_size=2, max_size=9), openai=st.booleans())
def test_conversations_come_through_whole(texts: list[str], openai: bool, make_set: Any) -> None:
    texts = texts[: len(texts) // 2 * 2]
    roles = ["user", "assistant"] * (len(texts) // 2)
    names = roles if openai else ["human" if role == "user" else "gpt" for role in roles]
    keys = ("role", "content") if openai else ("from", "value")
    messages = [dict(zip(keys, pair, strict=True)) for pair in zip(names, texts, strict=True)]
    row = {"messages" if openai else "conversations": messages}
    example = good(make_set, row, **(OPENAI if openai else SHARE))
    assert [m.content for m in example.messages] == texts
    assert [m.role for m in example.messages] == roles


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "from",
                    "value",
                    "role",
                    "content",
                    "conversations",
                    "messages",
                    "output",
                    "instruction",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(JSON, min_size=1, max_size=5), kind=st.sampled_from([{}, SHARE, OPENAI, RANKED])
)
def test_any_rows_give_an_example_or_a_reason(
    rows: list[Any], kind: dict[str, Any], make_set: Any
) -> None:
    index = open_rows("mine", make_set(rows, **kind))
    assert len(index) == len(rows)
    for i in range(len(index)):
        row = index.example(i)
        assert isinstance(row, Example) or (row.row == i + 1 and row.reason)
