"""A key that stands twice in a row's JSON is read as ever, and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import open_rows
from engine.datasets.checks.whole import check_dataset
from engine.datasets.repeated_keys import RepeatingRow, parse

TWICE = '{"instruction": "a", "output": "b", "output": "c"}'
DEEP = '{"instruction": "d", "output": "e", "note": [{"k": 1, "k": 2, "j": {"i": 1, "i": 1}}]}'
PLAIN = '{"instruction": "f", "output": "g"}'


@pytest.mark.parametrize("text", [TWICE, DEEP, PLAIN, "[1, 2]", "null", '{"a": {"a": 1}}'])
def test_values_are_those_of_json(text: str) -> None:
    assert parse(text) == json.loads(text)


def test_only_rows_that_repeat_say_so() -> None:
    first, second, third = parse(f"[{TWICE}, {DEEP}, {PLAIN}]")
    assert isinstance(first, RepeatingRow) and first.repeated == ("output",)
    assert second.repeated == ("k", "i")
    assert type(third) is dict


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
@pytest.mark.parametrize("large", [False, True])
def test_the_check_names_row_and_key(
    tmp_path: Path, name: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.datasets import files

    if large:
        monkeypatch.setattr(files, "SMALL", 1)  # by the index then
    rows: list[str] = [PLAIN, TWICE, PLAIN, DEEP]
    text = "\n".join(rows) if name.endswith("l") else f"[{', '.join(rows)}]"
    (tmp_path / name).write_text(text)
    registry: dict[str, Any] = {"mine": {"file_name": name}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    checked = check_dataset(open_rows("mine", tmp_path), None)
    (finding,) = [one for one in checked.findings if one.kind == "repeated key"]
    assert finding.level == "warning" and finding.count == 2 and finding.rows == (2, 4)
    assert finding.words.startswith(
        "2 rows have a key that stands twice, first row 2 ('output'): only its last"
    )
    assert checked.usable == 4


def test_a_set_without_any_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(PLAIN)
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.jsonl"}}')
    checked = check_dataset(open_rows("mine", tmp_path), None)
    assert not [one for one in checked.findings if one.kind == "repeated key"]
