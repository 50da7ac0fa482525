"""Properties of the way from rows to tokens: no row is lost, reordered or altered by it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets import Encoder, Example, Message, RowProblem, TokenRows, open_rows
from engine.datasets.packing import pack, pack_whole, unpacked

# Any character that JSON can carry, the awkward ones often: no half of a surrogate pair.
TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=("Cs",)),
        st.sampled_from("\n\r\t\"'\\,;{}<|>\u2028\ufeff \0"),
    ),
    max_size=30,
)
SAID = TEXT.filter(str.strip)
NAME = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(NAME, JSON, max_size=3)
CALL = st.fixed_dictionaries({"name": NAME, "arguments": ARGUMENTS})
TOOLS = st.lists(st.fixed_dictionaries({"name": NAME, "description": TEXT}), max_size=2)

alpaca_rows = st.fixed_dictionaries(
    {
        "instruction": SAID,
        "input": TEXT,
        "output": SAID,
        "system": TEXT,
        "history": st.lists(st.tuples(SAID, SAID).map(list), max_size=3),
    }
)
ALPACA = {
    "columns": {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    }
}


@st.composite
def talks(draw: st.DrawFn) -> dict[str, Any]:
    """A sharegpt row: the sides take turns; answers may be calls, questions may be results."""
    turns = []
    for place in range(draw(st.integers(1, 3))):
        asker = "observation" if place and draw(st.booleans()) else "human"
        turns.append({"from": asker, "value": draw(SAID)})
        if draw(st.booleans()):
            turns.append({"from": "gpt", "value": draw(SAID)})
        else:
            turns.append({"from": "function_call", "value": json.dumps(draw(CALL))})
    system = draw(st.none() | TEXT)
    if system is not None:
        turns.insert(0, {"from": "system", "value": system})
    return {"conversations": turns, "tools": json.dumps(draw(TOOLS))}


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    """An openai row, with calls, their results and reasoning."""
    turns: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        turns.append({"role": "user", "content": draw(SAID)})
        calls = draw(st.lists(CALL, max_size=2))
        if calls:
            made = [{"type": "function", "function": call} for call in calls]
            turns.append({"role": "assistant", "content": draw(TEXT), "tool_calls": made})
            turns += [{"role": "tool", "content": draw(TEXT)} for _ in calls]
        turns.append({"role": "assistant", "content": draw(SAID), "reasoning_content": draw(TEXT)})
    return {"messages": turns}


pairs = st.fixed_dictionaries({"instruction": SAID, "chosen": SAID, "rejected": SAID})
PAIRS = {
    "ranking": True,
    "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
}
labelled = st.fixed_dictionaries({"instruction": SAID, "output": SAID, "label": st.booleans()})
LABELLED = {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "label"}}


def from_alpaca(row: dict[str, Any]) -> Example:
    parts = [row["instruction"], row["input"]]
    turns = [
        message
        for asked, said in row["history"]
        for message in (Message("user", asked), Message("assistant", said))
    ]
    turns.append(Message("user", "\n".join(part for part in parts if part)))
    turns.append(Message("assistant", row["output"]))
    return Example("conversation", 0, tuple(turns), system=row["system"])


def as_call(call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": call}


def as_tools(tools: list[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple({"type": "function", "function": tool} for tool in tools)


def from_talk(row: dict[str, Any]) -> Example:
    turns = list(row["conversations"])
    system = turns.pop(0)["value"] if turns[0]["from"] == "system" else ""
    roles = {"human": "user", "observation": "tool", "gpt": "assistant"}
    messages = [
        Message("assistant", "", (as_call(json.loads(turn["value"])),))
        if turn["from"] == "function_call"
        else Message(roles[turn["from"]], turn["value"])  # type: ignore[arg-type]
        for turn in turns
    ]
    tools = as_tools(json.loads(row["tools"]))
    return Example("conversation", 0, tuple(messages), system=system, tools=tools)


def from_chat(row: dict[str, Any]) -> Example:
    return Example(
        "conversation",
        0,
        tuple(
            Message(
                turn["role"],
                turn["content"],
                tuple(turn.get("tool_calls", ())),
                turn.get("reasoning_content", ""),
            )
            for turn in row["messages"]
        ),
    )


def from_pair(row: dict[str, Any]) -> Example:
    chosen, rejected = (Message("assistant", row[name]) for name in ("chosen", "rejected"))
    asked = (Message("user", row["instruction"]),)
    return Example("preference", 0, asked, chosen=chosen, rejected=rejected)


def from_labelled(row: dict[str, Any]) -> Example:
    turns = (Message("user", row["instruction"]), Message("assistant", row["output"]))
    return Example("feedback", 0, turns, label=row["label"])


def write(rows: list[dict[str, Any]], kind: str, folder: Path) -> str:
    """The rows in a file of a kind; its name."""
    name = f"mine.{kind}"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if kind == "json":
        (folder / name).write_text(
            json.dumps(rows, ensure_ascii=False, indent=1), "utf-8", newline=""
        )
    elif kind == "jsonl":
        (folder / name).write_bytes(lines)
    elif kind == "jsonl.gz":
        (folder / name).write_bytes(gzip.compress(lines))
    else:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, folder / name, row_group_size=2)
    return name


def read_back(rows: list[dict[str, Any]], kind: str, entry: dict[str, Any]) -> list[Any]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        name = write(rows, kind, folder)
        registry = {"mine": {"file_name": name, **entry}}
        (folder / "dataset_info.json").write_text(json.dumps(registry))
        index = open_rows("mine", folder)
        return [index.example(place) for place in range(len(index))]


@pytest.mark.parametrize("kind", ["json", "jsonl", "jsonl.gz"])
@pytest.mark.parametrize(
    ("rows", "entry", "wanted"),
    [
        (alpaca_rows, ALPACA, from_alpaca),
        (talks(), {"formatting": "sharegpt",
                   "columns": {"messages": "conversations", "tools": "tools"}}, from_talk),
        (chats(), {"formatting": "openai"}, from_chat),
        (pairs, PAIRS, from_pair),
        (labelled, LABELLED, from_labelled),
    ],
    ids=["alpaca", "sharegpt", "openai", "pairs", "feedback"],
)  # fmt: skip
def test_every_row_comes_back_as_it_was_written_and_in_order(
    rows: st.SearchStrategy[dict[str, Any]],
    entry: dict[str, Any],
    wanted: Callable[[dict[str, Any]], Example],
    kind: str,
) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(rows, min_size=1, max_size=5))
    def check(written: list[dict[str, Any]]) -> None:
        from dataclasses import replace

        expected = [replace(wanted(row), source_row=n) for n, row in enumerate(written, 1)]
        assert read_back(written, kind, entry) == expected

    check()


@settings(max_examples=25, deadline=None)
@given(st.lists(pairs, min_size=1, max_size=7))
def test_parquet_keeps_rows_too(written: list[dict[str, Any]]) -> None:
    found = read_back(written, "parquet", PAIRS)
    assert [
        (row.messages[0].content, row.chosen.content, row.rejected.content) for row in found
    ] == [(row["instruction"], row["chosen"], row["rejected"]) for row in written]


# CSV has no way to write a NUL, and a lone carriage return ends a line for many readers.
CELL = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20).filter(str.strip)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CELL, CELL | st.just('a "b", c\nd')), min_size=1, max_size=6))
def test_csv_keeps_rows_too(cells: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([("instruction", "output"), *cells])
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "mine.csv").write_text(out.getvalue(), "utf-8", newline="")
        (folder / "dataset_info.json").write_text('{"mine": {"file_name": "mine.csv"}}')
        index = open_rows("mine", folder)
        found = [index.example(place) for place in range(len(index))]
    assert [tuple(m.content for m in row.messages) for row in found] == cells


# What stands in a row that can't be used: the others must not notice.
BROKEN = st.one_of(
    JSON.filter(lambda value: not isinstance(value, dict)),
    st.fixed_dictionaries({"instruction": JSON, "output": st.none() | st.just("") | st.integers()}),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(alpaca_rows, BROKEN), min_size=1, max_size=8))
def test_a_bad_row_costs_no_other(written: list[Any]) -> None:
    found = read_back([{}, *written], "jsonl", ALPACA)[1:]
    assert len(found) == len(written)
    for number, (row, example) in enumerate(zip(written, found, strict=True), 2):
        if isinstance(example, RowProblem):
            assert example.row == number and example.reason
        else:
            assert example.source_row == number
        good = isinstance(row, dict) and isinstance(row["output"], str) and row["output"].strip()
        assert isinstance(example, Example) == bool(good and "input" in row)


def test_packing_keeps_every_token_in_order(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["chatml"], make_config(stage="pt", cutoff_len=16))

    @settings(max_examples=40, deadline=None)
    @given(texts=st.lists(SAID, min_size=1, max_size=12), length=st.integers(1, 40))
    def check(texts: list[str], length: int) -> None:
        rows = TokenRows()
        for row in encoder.encode_batch([Example("text", 1, text=text) for text in texts]):
            assert not isinstance(row, RowProblem) and row.cut == 0
            rows.append(row)
        packed = pack(rows, length)
        for name in ("input_ids", "labels"):
            assert [one for row in packed for one in row[name]] == [
                one for row in rows for one in row[name]
            ]
        sizes = packed.lengths()
        assert all(size == length for size in sizes[:-1]) and 1 <= sizes[-1] <= length
        # Unpacked at the end tokens, the texts are there again.
        end = encoder.tokenizer.eos_ids[0]
        ids, found = [one for row in packed for one in row["input_ids"]], [[]]
        for one in ids:
            found[-1].append(one)
            if one == end:
                found.append([])
        assert found.pop() == [] and len(found) == len(texts)
        decoded = [
            encoder.tokenizer.backend.decode(one[:-1], skip_special_tokens=False) for one in found
        ]
        assert decoded == texts

    check()


def test_conversations_packed_and_unpacked_are_what_they_were(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["chatml"], make_config(cutoff_len=256))

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=9, unique=True), st.integers(1, 4))
    def check(said: list[tuple[str, str]], batch: int) -> None:
        examples = [
            Example("conversation", n, (Message("user", asked), Message("assistant", answer)))
            for n, (asked, answer) in enumerate(said, 1)
        ]
        rows = TokenRows()
        for row in encoder.encode_batch(examples):
            if not isinstance(row, RowProblem):
                rows.append(row)
        packed = pack_whole(rows, 256, batch)
        found = [one for row in packed for one in unpacked(row)]
        plain = [{name: row[name] for name in ("input_ids", "labels")} for row in rows]
        # Batch by batch the rows are there again; within a packed row they kept their order.
        for begin in range(0, len(plain), batch):
            part = found[begin : begin + batch]
            key = str
            assert sorted(part, key=key) == sorted(plain[begin : begin + batch], key=key)
        for row in packed:
            places = [plain.index(one) for one in unpacked(row)]
            assert places == sorted(places) and len(row["input_ids"]) <= 256

    check()
