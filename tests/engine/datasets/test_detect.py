"""Formats, columns and tags made out from rows; corrections; what would be lost is said."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets import Example, find_dataset, fits, open_rows
from engine.datasets.detect import (
    SAMPLE,
    data_files,
    detect,
    detect_rows,
    guess,
    look,
    roles,
    turn_keys,
)
from engine.datasets.draft import Draft
from engine.datasets.registry import read_registry
from engine.datasets.registry_write import add_set
from engine.problem import BadInput

CORPORA_DIR = Path(__file__).parents[4] / "shared/corpora"
CORPORA = [
    ("identity", "conversation"),
    ("instructions", "conversation"),
    ("preference", "preference"),
    ("feedback", "feedback"),
    ("tools", "tools"),
    ("texts", "text"),
]
CALL = '{"name": "f", "arguments": {}}'


def rows_file(folder: Path, rows: list[Any], name: str = "mine.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def made_out(folder: Path, *rows: Any, name: str = "mine.json") -> Draft:
    return detect(rows_file(folder, list(rows), name))


@pytest.mark.parametrize(("name", "shape"), CORPORA)
def test_the_bundled_sets_are_made_out_as_their_registry_says(name: str, shape: str) -> None:
    info = find_dataset(name)
    assert info.path is not None
    draft = detect(info.path)
    found = draft.info()
    assert found.shape == shape == info.shape
    assert (
        fits(found, {"preference": "dpo", "feedback": "kto", "text": "pt"}.get(shape, "sft"))
        is None
    )
    seen = look(draft)
    assert seen.usable == seen.looked_at == min(SAMPLE, len(open_rows(name)))
    assert seen.warnings == () and len(seen.examples) == 2
    # Each row becomes the same conversation as by the published entry.
    rows = open_rows(name)
    assert list(seen.examples) == [rows.example(0), rows.example(1)]


@pytest.mark.skipif(not CORPORA_DIR.is_dir(), reason="the published sets are not here")
def test_published_sets_are_made_out_as_their_registry_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_CONFIG", str(tmp_path))
    monkeypatch.chdir(CORPORA_DIR.parent)  # no sets but the bundled and the own
    for info in read_registry(CORPORA_DIR).infos.values():
        assert info.path is not None
        add_set(replace(detect(info.path), name=f"my_{info.name}"), "own list")
        mine, theirs = open_rows(f"my_{info.name}"), open_rows(info)
        for number in range(len(theirs)):
            ours, wanted = mine.example(number), theirs.example(number)
            # The pictures of the own list are found beside the file.
            assert isinstance(ours, Example) and isinstance(wanted, Example)
            assert replace(ours, media=()) == replace(wanted, media=())
            assert all(Path(one.name).is_file() for one in ours.media)


def test_alpaca_with_names_of_its_own(tmp_path: Path) -> None:
    draft = made_out(tmp_path, {"question": "q", "context": "c", "answer": "a", "score": 3})
    assert draft.entry() == {
        "file_name": "mine.json",
        "formatting": "alpaca",
        "columns": {"prompt": "question", "query": "context", "response": "answer"},
    }
    seen = look(draft)
    assert [m.content for m in seen.examples[0].messages] == ["q\nc", "a"]
    assert seen.warnings == ("Not used: score.",)


def test_an_alpaca_pair_a_label_and_history(tmp_path: Path) -> None:
    pair = made_out(tmp_path, {"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert pair.rows_are == "alpaca" and pair.entry()["ranking"] is True
    assert look(pair).examples[0].rejected.content == "bad"  # type: ignore[union-attr]
    label = made_out(tmp_path, {"prompt": "q", "completion": "a", "label": True})
    assert label.judged == "good or bad" and label.columns["kto_tag"] == "label"
    assert look(label).examples[0].label is True
    past = made_out(
        tmp_path, {"instruction": "q", "output": "a", "system": "s", "history": [["x", "y"]]}
    )
    example = look(past).examples[0]
    assert example.system == "s" and [m.content for m in example.messages] == ["x", "y", "q", "a"]


def test_sharegpt_roles_by_name_and_strangers_by_who_asks(tmp_path: Path) -> None:
    talk = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": CALL},
        {"from": "observation", "value": "1"},
        {"from": "gpt", "value": "a"},
    ]
    draft = made_out(tmp_path, {"conversations": talk, "tools": '[{"name": "f"}]'})
    assert draft.rows_are == "sharegpt" and draft.columns["tools"] == "tools"
    assert draft.tags == {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "observation_tag": "observation",
        "function_tag": "function_call",
        "system_tag": "system",
    }
    assert look(draft).usable == 1
    odd = [{"speaker": "Anna", "text": "q"}, {"speaker": "Otto", "text": "a"}]
    draft = made_out(tmp_path, {"lines": odd})
    assert draft.columns == {"messages": "lines"}
    assert draft.tags["user_tag"] == "Anna" and draft.tags["assistant_tag"] == "Otto"
    assert [m.role for m in look(draft).examples[0].messages] == ["user", "assistant"]


def test_openai_with_calls_and_images(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    talk = [
        {"role": "user", "content": "<image>q"},
        {"role": "assistant", "content": "let me see", "tool_calls": [call]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "a"},
    ]
    draft = made_out(tmp_path, {"messages": talk, "images": ["a.png"], "tools": [{"name": "f"}]})
    assert draft.rows_are == "openai" and draft.columns["images"] == "images"
    assert draft.tags["observation_tag"] == "tool"
    seen = look(draft)
    assert seen.usable == 1 and "1 of 1 pictures are not in" in seen.warnings[0]
    assert seen.examples[0].messages[1].content == "let me see"
    (tmp_path / "a.png").write_bytes(b"x")
    assert look(draft).warnings == ()


def test_pairs_of_whole_conversations_as_hub_sets_have_them(tmp_path: Path) -> None:
    ask = {"role": "user", "content": "q"}
    good = [ask, {"role": "assistant", "content": "good"}]
    bad = [ask, {"role": "assistant", "content": "bad"}]
    draft = made_out(tmp_path, {"prompt": "q", "chosen": good, "rejected": bad})
    assert draft.rows_are == "openai" and draft.judged == "better and worse"
    example = look(draft).examples[0]
    assert [m.content for m in example.messages] == ["q"]
    assert (example.chosen.content, example.rejected.content) == ("good", "bad")  # type: ignore[union-attr]
    other = [{"role": "user", "content": "another"}, bad[1]]
    draft = made_out(tmp_path, {"chosen": good, "rejected": other})
    assert "answer different prompts" in look(draft).warnings[0]


def test_texts_lines_csv_and_packed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert detect(tmp_path / "a.txt").entry()["columns"] == {"prompt": "text"}
    assert look(detect(tmp_path / "a.txt")).examples[1].text == "two"
    (tmp_path / "b.csv").write_text("question,answer,label\nq,a,true\nq2,a2,0\n")
    draft = detect(tmp_path / "b.csv")
    assert draft.judged == "good or bad"
    assert [example.label for example in look(draft).examples] == [True, False]
    with gzip.open(tmp_path / "c d.jsonl.gz", "wt") as file:
        file.write('{"body": "x"}\n')
    packed = detect(tmp_path / "c d.jsonl.gz")
    assert packed.name == "c_d" and packed.columns == {"prompt": "body"}


def test_corrections_change_columns_tags_format_and_judgement(tmp_path: Path) -> None:
    draft = made_out(tmp_path, {"prompt": "q", "response": "a", "answer": "the right one"})
    assert draft.columns["response"] == "response"
    draft = draft.with_column("response", "answer")
    assert look(draft).examples[0].messages[1].content == "the right one"
    assert "response" not in draft.with_column("response", None).entry()["columns"]
    text = guess(draft, "text")
    assert text.entry()["columns"] == {"prompt": "answer"} and text.info().shape == "text"
    pair = guess(draft, "alpaca", "better and worse")
    assert pair.asked_columns[-2:] == ("chosen", "rejected") and pair.entry()["ranking"] is True
    assert "1 of the first 1 rows can't be used" in look(pair).warnings[0]
    talk = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    lists = made_out(tmp_path, {"conversations": talk})
    assert roles(lists) == ["human", "gpt"] and turn_keys(lists) == ["from", "value"]
    swapped = lists.with_tag("user_tag", "gpt").with_tag("assistant_tag", "human")
    assert look(swapped).usable == 0
    assert "the first turn is the assistant's" in look(swapped).warnings[0]
    unnamed = lists.with_tag("assistant_tag", None)
    assert any("Roles without a name: gpt" in line for line in look(unnamed).warnings)


def test_broken_rows_are_counted_with_the_first_ones_number(tmp_path: Path) -> None:
    lines = [
        '{"instruction": "q", "output": "a"}',
        "{",
        "[1]",
        '{"instruction": "q", "output": ""}',
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    seen = look(detect(tmp_path / "mine.jsonl"))
    assert (seen.usable, seen.looked_at) == (1, 4)
    assert "3 of the first 4 rows can't be used; row 2:" in seen.warnings[0]


@pytest.mark.parametrize(
    ("content", "said"), [("[]", "holds no rows"), ("[1, 2]", "Row 1"), ("{", "not valid JSON")]
)
def test_what_holds_no_rows_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(BadInput, match=said):
        detect(tmp_path / "mine.json")
    with pytest.raises(BadInput, match="There is no file"):
        detect(tmp_path / "none.json")


def test_an_entry_made_out_reads_the_rows_it_was_made_from(tmp_path: Path) -> None:
    draft = made_out(tmp_path, {"problem": "q", "solution": "a"})
    (tmp_path / "dataset_info.json").write_text(json.dumps({draft.name: draft.entry()}))
    example = open_rows("mine", tmp_path).example(0)
    assert isinstance(example, Example) and example.messages[1].content == "a"


def test_what_of_a_folder_can_be_a_set(tmp_path: Path) -> None:
    for name in (
        "b.jsonl",
        "a.parquet",
        "c.json.zst",
        "no.md",
        ".hidden.json",
        "dataset_info.json",
    ):
        (tmp_path / name).write_text("")
    (tmp_path / "sub").mkdir()
    assert [item.name for item in data_files(tmp_path)] == [
        "sub",
        "a.parquet",
        "b.jsonl",
        "c.json.zst",
    ]


_LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "[{", "<image>"])
_TURN = st.dictionaries(
    st.sampled_from(["role", "from", "content", "value", "tool_calls", "x"]),
    st.sampled_from(["user", "gpt", "system", "tool", "function", "odd"]) | _LEAF,
    max_size=4,
)
_VALUE = _LEAF | st.lists(_TURN | _LEAF | st.lists(_LEAF, max_size=2), max_size=3) | _TURN
_NAMES = ["messages", "conversations", "prompt", "output", "chosen", "rejected", "label", "tools",
          "history", "images", "text", "system", "odd"]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(_NAMES), _VALUE, max_size=6) | _LEAF, max_size=5)
)
def test_whatever_the_rows_hold_there_is_an_entry_or_a_reason(rows: list[Any]) -> None:
    try:
        draft = detect_rows(rows, "any", None, {"file_name": "any.json"})
    except BadInput as error:
        assert error.problem.what.endswith(".")
        assert not any(isinstance(row, dict) for row in rows)
        return
    for judged in (None, "one answer", "better and worse", "good or bad"):
        for rows_are in (None, "alpaca", "sharegpt", "openai", "text"):
            other = guess(draft, rows_are, judged)  # type: ignore[arg-type]
            seen = look(other)
            assert seen.looked_at == len(rows) and 0 <= seen.usable <= len(rows)
            # Every column it names is one of the file's.
            assert set(other.columns.values()) <= {fact.name for fact in draft.facts}
            assert (seen.usable == len(rows)) == (
                not any("can't be used; row" in line for line in seen.warnings)
            )
