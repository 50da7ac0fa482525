"""Registries and files: the traps of the convention, and faults told with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Example, RowProblem, find_dataset, fits, list_datasets, open_rows
from engine.datasets.dataset_info import Columns
from engine.datasets.registry import read_registry
from engine.problem import BadInput

ROWS = [{"instruction": f"q{i}", "input": "", "output": f"a{i}"} for i in range(5)]


def fault(call: Any, *args: Any) -> str:
    with pytest.raises(BadInput) as caught:
        call(*args)
    problem = caught.value.problem
    assert problem.what.endswith(".") and problem.where and problem.hint
    return str(problem)


def test_missing_folder_and_registry(tmp_path: Path) -> None:
    assert "no dataset folder" in fault(read_registry, tmp_path / "nothing")
    assert "has no dataset_info.json" in fault(read_registry, tmp_path)


def test_malformed_registry_names_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{\n  "a": {"file_name": "a.json"},\n  "b" 1\n}')
    assert "line 3, column 7" in fault(read_registry, tmp_path)
    (tmp_path / "dataset_info.json").write_text("[]")
    assert "must be one object" in fault(read_registry, tmp_path)


def test_columns_given_leave_no_defaults(make_set: Any) -> None:
    folder = make_set(
        [], formatting="sharegpt", columns={"messages": "talk"}, tags={"role_tag": "r"}
    )
    info = find_dataset("mine", folder)
    assert info.columns == Columns(None, None, None, messages="talk")
    assert info.tags.role_tag == "r" and info.tags.user_tag is None
    bare = find_dataset("mine", make_set([], formatting="sharegpt"))
    assert bare.columns.messages == "conversations" and bare.columns.system is None
    assert bare.tags.assistant_tag == "gpt"
    openai = find_dataset("mine", make_set([], formatting="openai"))
    assert openai.columns.messages == "messages" and openai.tags.role_tag == "role"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"file_name": "../secret.json"}, "outside the dataset folder"),
        ({"file_name": "/etc/passwd"}, "outside the dataset folder"),
        ({"file_name": "https://example.com/a.json"}, "is an address"),
        ({"file_name": "a/../../secret.json"}, "outside the dataset folder"),
        ({"script_url": "load.py"}, "runs foreign code"),
        ({"file_nam": "a.json"}, "Did you mean file_name"),
        ({"columns": {"promt": "x"}, "file_name": "a.json"}, "Did you mean prompt"),
        ({"tags": {"role": "x"}, "file_name": "a.json"}, "role_tag"),
        ({"formatting": "chatml", "file_name": "a.json"}, "alpaca, sharegpt or openai"),
        ({"ranking": "yes", "file_name": "a.json"}, "true or false"),
        ({"num_samples": True, "file_name": "a.json"}, "whole number"),
        ({"columns": {"prompt": 3}, "file_name": "a.json"}, "name of a column"),
        ({}, "has no source"),
        ("a.json", "not an object"),
    ],
)
def test_a_faulty_entry_is_told_and_the_others_stay(entry: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(ROWS))
    registry = {"bad": entry, "good": {"file_name": "good.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    assert said in fault(find_dataset, "bad", tmp_path)
    entries = {entry.name: entry for entry in list_datasets(tmp_path)}
    assert entries["good"].rows == 5 and entries["good"].problem is None
    assert entries["bad"].problem is not None


def test_unknown_name_suggests_the_nearest(make_set: Any) -> None:
    assert "Did you mean mine?" in fault(find_dataset, "mime", make_set(ROWS))


def test_a_hub_set_is_listed_without_being_fetched(tmp_path: Path) -> None:
    registry = {"far": {"ms_hub_url": "org/set"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    listed = list_datasets(tmp_path)[0]
    assert listed.rows is None and listed.problem is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.json", json.dumps(ROWS)),
        ("mine.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
        ("mine.json", "\n".join(json.dumps(row) for row in ROWS)),
        ("mine.jsonl", "\n\n".join(json.dumps(row) for row in ROWS) + "\n\n"),
        ("mine.jsonl", b"\xef\xbb\xbf" + "\r\n".join(json.dumps(row) for row in ROWS).encode()),
        ("mine.jsonl", json.dumps(ROWS, indent=1)),
        ("mine.csv", "instruction,input,output\n" + "".join(f"q{i},,a{i}\n" for i in range(5))),
    ],
)
def test_every_text_file_gives_the_same_rows(name: str, content: Any, make_set: Any) -> None:
    rows = open_rows("mine", make_set(content, name))
    assert [rows.raw(i) for i in range(len(rows))] == ROWS
    assert [rows.example(i).messages[1].content for i in range(5)] == [f"a{i}" for i in range(5)]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_tables(kind: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    table = pyarrow.Table.from_pylist(ROWS)
    name = "mine.parquet" if kind == "parquet" else "mine.arrow"
    if kind == "parquet":
        parquet.write_table(table, tmp_path / name, row_group_size=2)
    else:
        writer = pyarrow.ipc.new_file if kind == "arrow" else pyarrow.ipc.new_stream
        with writer(str(tmp_path / name), table.schema) as file:
            file.write_table(table)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": name}}))
    rows = open_rows("mine", tmp_path)
    assert [rows.raw(i) for i in (4, 0, 3, 1, 2)] == [ROWS[i] for i in (4, 0, 3, 1, 2)]
    assert list_datasets(tmp_path)[0].rows == 5
    (tmp_path / name).write_bytes(b"not a table")
    assert "is not a valid" in fault(open_rows, "mine", tmp_path)


def test_txt_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "b.txt").write_text("three\n")
    (folder / "dataset_info.json").write_text("{}")
    (folder / "a.txt").write_text("one\n\ntwo\n")
    entry = {"file_name": "texts", "columns": {"prompt": "text"}}
    registry = {"mine": entry, "one": {"file_name": "texts/a.txt"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    rows = open_rows("mine", tmp_path)
    assert [rows.example(i).text for i in range(3)] == ["one", "two", "three"]  # type: ignore[union-attr]
    listed = list_datasets(tmp_path)
    assert [(entry.shape, entry.rows) for entry in listed] == [("text", 3), ("text", 2)]
    assert fits(listed[1], "pt") is None and "stage pt" in str(fits(listed[1], "sft"))
    (folder / "c.jsonl").write_text('{"text": "four"}\n')
    assert "files of different kinds: .json, .txt" in fault(open_rows, "mine", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mine.json", '[\n {"a": 1},\n {"a": 2,}\n]', "line 3"),
        ("mine.json", '[{"a": 1}', "line 1"),
        ("mine.json", '{"a": 1,\n "b": 2}', "one object, not a list"),
        ("mine.json", "", "is empty"),
        ("mine.json", "[" * 100_000, "nested too deeply"),
        ("mine.json", json.dumps(ROWS).encode("utf-16"), "UTF-16"),
        ("mine.json", b'[\n{"a": "\xff"}]', "line 2"),
        ("mine.csv", 'a,b\n1,2\n"x,3\n', "line 3"),
        ("mine.csv", "", "no header"),
        ("mine.docx", "x", "can't be read from a .docx"),
    ],
)
def test_a_broken_file_is_told_with_its_place(
    name: str, content: Any, said: str, make_set: Any
) -> None:
    folder = make_set(content, name)
    message = fault(open_rows, "mine", folder)
    assert said in message and name in message
    assert list_datasets(folder)[0].problem is not None


def test_a_missing_file_is_told(make_set: Any) -> None:
    folder = make_set(ROWS)
    (folder / "mine.json").unlink()
    assert "There is no file mine.json" in fault(open_rows, "mine", folder)


def test_a_broken_line_costs_only_its_row(make_set: Any) -> None:
    lines = [json.dumps(row) for row in ROWS]
    lines[2] = '{"instruction": '
    lines[3] = "[1]"
    rows = open_rows("mine", make_set("\n".join(lines), "mine.jsonl"))
    found = [rows.example(i) for i in range(5)]
    assert [isinstance(row, Example) for row in found] == [True, True, False, False, True]
    assert isinstance(found[2], RowProblem) and found[2].row == 3 and "line 3" in found[2].reason
    assert "a list, not an object" in str(found[3])
    assert "line 3" in fault(rows.raw, 2)


def test_counts_are_remembered_until_the_file_changes(
    make_set: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_set(ROWS)
    assert list_datasets(folder)[0].rows == 5
    import engine.datasets.counts as counts

    def never(info: Any) -> Any:
        raise AssertionError("the file was read again")

    real = counts.open_local
    monkeypatch.setattr(counts, "open_local", never)
    assert list_datasets(folder)[0].rows == 5
    monkeypatch.setattr(counts, "open_local", real)
    make_set(ROWS[:3])
    assert list_datasets(folder)[0].rows == 3


def test_nothing_heavy_is_imported() -> None:
    import subprocess
    import sys

    root = Path(__file__).parents[3]
    code = (
        "import sys; from engine.datasets import list_datasets, open_rows, fits;"
        "light = set(sys.modules);"
        "from engine.datasets import Encoder, prepare, check_dataset;"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pyarrow', 'huggingface_hub'};"
        "assert not (light & {*heavy, 'tokenizers', 'jinja2'}), light & heavy;"
        "assert not (set(sys.modules) & heavy), set(sys.modules) & heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.parametrize(
    ("registry", "name", "said"),
    [
        ('{"a": {"file_name": "a.json"}, "a": {"file_name": "b.json"}}', "a", "names 'a' twice"),
        ('{"a": {"file_name": "a.json", "file_name": "b.json"}}', "a", "says file_name twice"),
        ('{"a,b": {"file_name": "a.json"}}', "a,b", "can't be chosen"),
        ('{" a": {"file_name": "a.json"}}', " a", "can't be chosen"),
        ('{"": {"file_name": "a.json"}}', "", "can't be chosen"),
    ],
)
def test_names_that_mean_no_one_set(
    tmp_path: Path, registry: str, name: str, said: str
) -> None:  # fmt: skip
    (tmp_path / "dataset_info.json").write_text(registry[:-1] + ', "good": {"file_name": "a"}}')
    found = read_registry(tmp_path)
    assert list(found.infos) == ["good"]
    assert said in str(found.problems[name])


def test_a_whole_path_within_the_folder_is_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    entries = {"whole": str(tmp_path / "a.json"), "back": f"../{tmp_path.name}/a.json"}
    registry = {name: {"file_name": file} for name, file in entries.items()}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    monkeypatch.chdir(tmp_path)
    for folder in (str(tmp_path), "."):
        for name in entries:
            assert len(open_rows(name, folder)) == 5
