"""Entries changed, renamed, taken out and copied: what they don't concern stays byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets import find_dataset, open_rows
from engine.datasets.example import Example
from engine.datasets.fill import Fill
from engine.datasets.registry import own_sets_dir
from engine.datasets.registry_edit import (
    change_entry,
    copy_entry,
    corrected_value,
    draft_of,
    listed_entry,
    remove_entry,
    value_with,
)
from engine.datasets.registry_text import with_change, without_entry
from engine.paths import bundled_data_dir
from engine.problem import BadInput

PATH = Path("dataset_info.json")
ROWS = [{"question": f"q{n}", "reply": f"a{n}", "best": "b"} for n in range(3)]
TEXT = """{
    "a": {"file_name": "a.json"} ,
    "mine": {
        "file_sha1": "kept",
        "file_name": "mine.json",
        "columns": {"query": null, "prompt": "question", "response": "reply"}
    },
    "z":   {"hf_hub_url": "o/n", "odd": [1,  2]}
}
"""


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "sets"
    place.mkdir()
    (place / "dataset_info.json").write_text(TEXT)
    (place / "mine.json").write_text(json.dumps(ROWS))
    return place


def text_of(folder: Path) -> str:
    return (folder / "dataset_info.json").read_text()


def test_one_value_is_changed_and_the_rest_of_the_file_stays(folder: Path) -> None:
    entry = listed_entry("mine", folder)
    before = draft_of(entry, ROWS)
    after = replace(before.with_column("response", "best"), num_samples=2)
    change_entry(entry, corrected_value(entry, before, after))
    head, tail = TEXT[: TEXT.index('"mine"')], TEXT[TEXT.index(',\n    "z"') :]
    now = text_of(folder)
    assert now.startswith(head) and now.endswith(tail)
    value = json.loads(now)["mine"]
    assert list(value) == ["file_sha1", "file_name", "columns", "num_samples"]
    assert value["columns"] == {"query": None, "prompt": "question", "response": "best"}
    example = open_rows("mine", folder).example(0)
    assert isinstance(example, Example) and example.messages[1].content == "b"


def test_nothing_changed_writes_nothing(folder: Path) -> None:
    entry = listed_entry("mine", folder)
    draft = draft_of(entry, ROWS)
    inode = (folder / "dataset_info.json").stat().st_ino
    change_entry(entry, corrected_value(entry, draft, draft))
    assert text_of(folder) == TEXT
    assert (folder / "dataset_info.json").stat().st_ino == inode


def test_another_format_says_all_its_columns_and_tags(folder: Path) -> None:
    (folder / "dataset_info.json").write_text('{"bare": {"file_name": "mine.json"}}')
    entry = listed_entry("bare", folder)
    before = draft_of(entry)
    after = replace(
        before, rows_are="sharegpt", columns={"messages": "question"}, tags={"role_tag": "from"}
    )
    change_entry(entry, corrected_value(entry, before, after))
    assert json.loads(text_of(folder))["bare"] == {
        "file_name": "mine.json",
        "formatting": "sharegpt",
        "columns": {"messages": "question"},
        "tags": {"role_tag": "from"},
    }
    assert text_of(folder).count("\n") == 0, "an entry in one line stays in one"


def test_a_label_that_is_dropped_changes_what_the_set_is_for(folder: Path) -> None:
    value = {"file_name": "mine.json", "columns": {"prompt": "question", "response": "reply",
                                                   "kto_tag": "best"}}  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps({"mine": value}))
    entry = listed_entry("mine", folder)
    before = draft_of(entry)
    assert entry.info.shape == "feedback" and before.judged == "good or bad"
    change_entry(entry, corrected_value(entry, before, replace(before, judged="one answer")))
    assert find_dataset("mine", folder).shape == "conversation"


@pytest.mark.parametrize("name", sorted(json.loads((bundled_data_dir() / PATH).read_text())))
def test_a_draft_says_what_its_entry_says(name: str) -> None:
    entry = listed_entry(name)
    draft = draft_of(entry, open_rows(name).rows)
    assert draft.info().shape == entry.info.shape and draft.facts
    assert corrected_value(entry, draft, draft) == entry.value


def test_it_is_renamed_where_it_stands(folder: Path) -> None:
    change_entry(listed_entry("mine", folder), json.loads(TEXT)["mine"], "ours ü")
    assert text_of(folder) == TEXT.replace('"mine":', '"ours ü":')
    with pytest.raises(BadInput, match="There is a set 'a' already"):
        change_entry(listed_entry("ours ü", folder), {"file_name": "mine.json"}, "a")


def test_only_the_entry_is_taken_out(folder: Path) -> None:
    remove_entry(listed_entry("mine", folder))
    assert text_of(folder) == TEXT[: TEXT.index('"mine"')] + TEXT[TEXT.index('"z"') :]
    assert (folder / "mine.json").exists()
    remove_entry(listed_entry("z", folder))
    remove_entry(listed_entry("a", folder))
    assert json.loads(text_of(folder)) == {} and (folder / "mine.json").exists()


def test_what_cannot_be_is_refused_and_nothing_is_written(folder: Path) -> None:
    entry = listed_entry("mine", folder)
    for value, said in (
        ({"file_name": "../x.json"}, "outside the dataset folder"),
        ({"file_name": "mine.json", "formating": "alpaca"}, "not known in a registry"),
        ({}, "no source"),
    ):
        with pytest.raises(BadInput, match=said):
            change_entry(entry, value)
    (folder / "dataset_info.json").write_text(TEXT.replace("kept", "new"))
    for work in (lambda: change_entry(entry, {"file_name": "b.json"}), lambda: remove_entry(entry)):
        with pytest.raises(BadInput, match="changed meanwhile"):
            work()
    assert text_of(folder) == TEXT.replace("kept", "new")
    with pytest.raises(BadInput, match="no dataset 'mino'"):
        listed_entry("mino", folder)
    with pytest.raises(BadInput, match="listed by a hub"):
        listed_entry("mine", "REMOTE:org/repo")


def test_a_faulty_entry_can_be_mended_and_taken_out(folder: Path) -> None:
    (folder / "dataset_info.json").write_text(
        '{"odd": {"file_name": "mine.json", "formating": "openai"}, "text": "file.json"}'
    )
    entry = listed_entry("odd", folder)
    with pytest.raises(BadInput):
        draft_of(entry)
    change_entry(entry, value_with(entry.value, [("formating", ""), ("formatting", "alpaca")]))
    assert find_dataset("odd", folder).formatting == "alpaca"
    remove_entry(listed_entry("text", folder))
    assert list(json.loads(text_of(folder))) == ["odd"]


def test_bundled_sets_stay_and_can_be_copied(tmp_path: Path) -> None:
    before = (bundled_data_dir() / "dataset_info.json").read_bytes()
    entry = listed_entry("identity")
    assert entry.bundled
    for work in (lambda: change_entry(entry, entry.value, "who"), lambda: remove_entry(entry)):
        with pytest.raises(BadInput, match="is a bundled set"):
            work()
    with pytest.raises(BadInput, match="There is a set 'texts' already"):
        copy_entry(entry, "texts")
    copy_entry(entry, "who", Fill('No"va', ""))
    assert (bundled_data_dir() / "dataset_info.json").read_bytes() == before
    info = find_dataset("who")
    assert info.path == own_sets_dir() / "who.json" and info.columns == entry.info.columns
    rows = open_rows("who")
    assert len(rows) == len(open_rows("identity"))
    example = rows.example(0)
    assert isinstance(example, Example)
    assert 'No"va' in example.messages[1].content and "{{author}}" in example.messages[1].content
    with pytest.raises(BadInput, match="already"):
        copy_entry(entry, "who")
    copy = listed_entry("who")
    assert not copy.bundled
    change_entry(copy, value_with(copy.value, [("num_samples", "1,000")]))
    assert find_dataset("who").num_samples == 1000


@pytest.mark.parametrize(
    ("key", "text"), [("num_samples", "many"), ("num_samples", "0"), ("ranking", "maybe")]
)
def test_values_that_cannot_be_read(key: str, text: str) -> None:
    with pytest.raises(BadInput, match=key):
        value_with({}, [(key, text)])


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    registry=st.dictionaries(
        st.text(max_size=6), st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
        min_size=1, max_size=5,
    ),
    pick=st.integers(min_value=0, max_value=4),
    entry=st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
    indent=st.sampled_from([None, 0, 1, 4, "\t"]),
    plain=st.booleans(),
    mark=st.sampled_from(["", "\ufeff"]),
)  # fmt: skip
def test_no_registry_loses_or_moves_another_entry(
    registry: dict, pick: int, entry: dict, indent: int | str | None, plain: bool, mark: str
) -> None:
    name = list(registry)[pick % len(registry)]
    text = mark + json.dumps(registry, indent=indent, ensure_ascii=plain)
    left = without_entry(text, name, PATH)
    assert left.startswith(mark)
    others = {key: value for key, value in registry.items() if key != name}
    found = json.loads(left.removeprefix(mark))
    assert found == others and list(found) == list(others)
    found = json.loads(with_change(text, name, entry, name + "…", PATH).removeprefix(mark))
    wanted = {name + "…" if key == name else key: value for key, value in registry.items()}
    if name + "…" not in others:
        assert found == {**wanted, name + "…": entry} and list(found) == list(wanted)
