"""The bundled sets: what the registry promises is what the files hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.datasets import Fill

DATA = Path(__file__).parents[2] / "data"
REGISTRY: dict[str, dict[str, Any]] = json.loads(
    (DATA / "dataset_info.json").read_text(encoding="utf-8")
)
NAMES = ("identity", "instructions", "preference", "feedback", "tools", "texts")
FEWEST_ROWS = {
    "identity": 90,
    "instructions": 115,
    "preference": 80,
    "feedback": 80,
    "tools": 40,
    "texts": 60,
}
# Columns of ours that a row may go without; every other declared one must stand in every row.
OPTIONAL = {"system", "history"}


def rows_of(name: str) -> list[dict[str, Any]]:
    text = (DATA / REGISTRY[name]["file_name"]).read_text(encoding="utf-8")
    if REGISTRY[name]["file_name"].endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def strings_in(value: Any) -> Iterator[str]:
    """Every string inside a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings_in(part)


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def check_turns(messages: list[dict[str, str]], tags: dict[str, str], where: str) -> None:
    """User and observation turns at odd places, assistant and function-call turns at even ones."""
    asking = {tags["user_tag"], tags.get("observation_tag")}
    answering = {tags["assistant_tag"], tags.get("function_tag")}
    for place, message in enumerate(messages, start=1):
        assert set(message) == {tags["role_tag"], tags["content_tag"]}, where
        expected = asking if place % 2 else answering
        assert message[tags["role_tag"]] in expected, f"{where}, turn {place}"
        assert message[tags["content_tag"]].strip(), f"{where}, turn {place} is empty"


def test_registry_names_every_file_and_no_other() -> None:
    assert tuple(REGISTRY) == NAMES
    named = {entry["file_name"] for entry in REGISTRY.values()} | {"dataset_info.json"}
    assert {path.name for path in DATA.iterdir() if path.is_file()} == named


@pytest.mark.parametrize("name", NAMES)
def test_rows_hold_exactly_the_declared_columns(name: str) -> None:
    columns = REGISTRY[name]["columns"]
    required = {theirs for ours, theirs in columns.items() if ours not in OPTIONAL}
    rows = rows_of(name)
    assert len(rows) >= FEWEST_ROWS[name]
    for number, row in enumerate(rows, start=1):
        # A column that the registry leaves out would be dropped in silence by other readers.
        assert required <= set(row) <= set(columns.values()), f"{name} row {number}"


@pytest.mark.parametrize("name", NAMES)
def test_no_row_is_empty_and_no_row_repeats(name: str) -> None:
    columns = REGISTRY[name]["columns"]
    rows = rows_of(name)
    for number, row in enumerate(rows, start=1):
        for ours in ("prompt", "response", "messages", "chosen", "rejected", "system", "history"):
            if columns.get(ours) in row:
                value = row[columns[ours]]
                assert value, f"{name} row {number} {ours}"
                assert all(text.strip() for text in strings_in(value)), f"{name} row {number}"
    assert len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows)


@pytest.mark.parametrize("name", NAMES)
def test_each_set_is_english_and_chinese(name: str) -> None:
    chinese = sum(is_chinese("".join(strings_in(row))) for row in rows_of(name))
    assert 0 < chinese < len(rows_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_text_is_clean(name: str) -> None:
    for number, row in enumerate(rows_of(name), start=1):
        for text in strings_in(row):
            assert text == text.strip(), f"{name} row {number}: spaces at an end"
            assert all(c.isprintable() or c == "\n" for c in text), f"{name} row {number}"
            assert name == "identity" or "{{" not in text, f"{name} row {number}: placeholder"


def test_identity_names_itself_and_its_maker() -> None:
    rows = rows_of("identity")
    questions = [row["instruction"] for row in rows]
    assert len(set(questions)) == len(questions)
    assert {"Who are you?", "你是谁？"} <= set(questions)
    for number, row in enumerate(rows, start=1):
        bare = row["output"].replace("{{name}}", "").replace("{{author}}", "")
        assert bare != row["output"], f"row {number} names nobody"
        assert "{{" not in bare and "}}" not in bare, f"row {number}: another placeholder"
        assert "{{" not in row["instruction"] + row["input"], f"row {number}"
        # A question in one language is answered in the same one.
        assert is_chinese(row["instruction"]) == is_chinese(row["output"]), f"row {number}"
    for question in ("Who are you?", "你是谁？"):
        answer = rows[questions.index(question)]["output"]
        assert "{{name}}" in answer and "{{author}}" in answer
    chinese = sum(map(is_chinese, questions))
    assert 0.4 <= chinese / len(rows) <= 0.6


def test_identity_reads_well_with_the_first_names() -> None:
    """As a newcomer's model will say it: no English article in Chinese, none that begins a
    sentence small."""
    config = RunConfig()
    fill = Fill(config.identity_name, config.identity_author)
    for number, row in enumerate(rows_of("identity"), start=1):
        text = fill.text(row["output"])
        if is_chinese(row["instruction"]):
            assert not re.search(r"\b[a-z]+\b", text), f"row {number}: {text}"
        else:
            sentences = re.split(r"(?<=[.!?]) ", text)
            assert all(one[0].isupper() for one in sentences), f"row {number}: {text}"


def test_instructions_show_input_system_and_history() -> None:
    rows = rows_of("instructions")
    assert sum(bool(row["input"]) for row in rows) >= 20
    assert sum("system" in row for row in rows) >= 3
    pasts = [row["history"] for row in rows if "history" in row]
    assert len(pasts) >= 3
    for past in pasts:
        assert all(len(pair) == 2 for pair in past)
    asked = [(row["instruction"], row["input"]) for row in rows]
    assert len(set(asked)) == len(asked)


def test_preference_pairs_answer_a_user_turn() -> None:
    tags = REGISTRY["preference"]["tags"]
    assert REGISTRY["preference"]["ranking"] is True
    for number, row in enumerate(rows_of("preference"), start=1):
        where = f"preference row {number}"
        messages = row["conversations"]
        assert len(messages) % 2 == 1, f"{where}: the last turn is the user's"
        for side in ("chosen", "rejected"):
            check_turns([*messages, row[side]], tags, where)
        assert row["chosen"] != row["rejected"], where


def test_feedback_is_half_good_half_bad() -> None:
    rows = rows_of("feedback")
    for number, row in enumerate(rows, start=1):
        check_turns(row["messages"], REGISTRY["feedback"]["tags"], f"feedback row {number}")
        assert len(row["messages"]) % 2 == 0, f"feedback row {number} ends with a user turn"
        assert isinstance(row["label"], bool), f"feedback row {number}"
    assert sum(row["label"] for row in rows) * 2 == len(rows)


def test_tool_calls_fit_the_tools_they_name() -> None:
    tags = REGISTRY["tools"]["tags"]
    called: set[str] = set()
    calls_per_row: list[int] = []
    for number, row in enumerate(rows_of("tools"), start=1):
        where = f"tools row {number}"
        messages = row["conversations"]
        check_turns(messages, tags, where)
        assert messages[-1]["from"] == "gpt", f"{where}: the last turn answers the person"
        offered = {tool["name"]: tool["parameters"] for tool in json.loads(row["tools"])}
        assert offered, where
        calls = 0
        for before, message in pairwise(messages):
            # A result follows a call, and a call is followed by its result.
            assert (before["from"] == "function_call") == (message["from"] == "observation"), where
        for message in messages:
            if message["from"] == "observation":
                json.loads(message["value"])
            if message["from"] != "function_call":
                continue
            call = json.loads(message["value"])
            assert set(call) == {"name", "arguments"}, where
            parameters = offered[call["name"]]
            given = set(call["arguments"])
            assert set(parameters["required"]) <= given <= set(parameters["properties"]), where
            called.add(call["name"])
            calls += 1
        calls_per_row.append(calls)
    assert len(called) >= 10
    assert calls_per_row.count(0) >= 3, "rows where no tool is needed"
    assert sum(calls >= 2 for calls in calls_per_row) >= 3, "rows with two calls"


def test_texts_are_paragraphs() -> None:
    for number, row in enumerate(rows_of("texts"), start=1):
        text = row["text"]
        assert "\n" not in text, f"texts row {number}"
        length = len(text) if is_chinese(text) else len(text.split())
        assert 100 <= length <= 300, f"texts row {number}: {length}"
