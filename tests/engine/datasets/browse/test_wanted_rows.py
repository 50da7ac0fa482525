"""Rows found by text, expression, role and length: just those that hold it, in every format; walks
go round, can be given up, and tell what stopped them."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.datasets import files, open_rows
from engine.datasets.browse.walk import RowWalk
from engine.datasets.browse.wanted import (
    Wanted,
    excerpt,
    with_filter,
    with_pattern,
    with_text,
    words,
)
from engine.datasets.rows import RowIndex
from engine.problem import BadInput


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))


def a_set(folder: Path, content: str, name: str = "mine.jsonl", **entry: Any) -> RowIndex:
    (folder / name).write_text(content, encoding="utf-8")
    registry = {"mine": {"file_name": name, **entry}}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    return open_rows("mine", folder)


def found(rows: RowIndex, wanted: Wanted, **options: Any) -> list[int]:
    walk = RowWalk(rows, wanted, **options)
    walk.join(60)
    if walk.fault is not None:
        raise walk.fault
    assert walk.done and walk.share == 1.0
    return list(walk.places())


PIECES = ["Paris", "paris", "PARIS", "Straße", "STRASSE", "ſs", "\u212aelvin", "kelvin", "你好",
          "a\nb", "\\u0041", "1.5", '"', "ﬁn"]  # fmt: skip


@settings(max_examples=80, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=3), min_size=1, max_size=12),
    st.sampled_from(["paris", "strasse", "ss", "kelvin", "你好", "A", "fin", "b", "5", '"', "k"]),
    st.booleans(),
    st.integers(0, 12),
)
def test_a_text_is_found_whatever_way_the_file_writes_it(
    tmp_path: Path, rows: list[list[str]], text: str, ascii_only: bool, start: int
) -> None:
    """The quick test of bytes never loses a row that the slow one finds."""
    content = "".join(json.dumps({"a": " ".join(row)}, ensure_ascii=ascii_only) + "\n"
                      for row in rows)  # fmt: skip
    content = content.replace('"Paris', '"\\u0050aris')
    small, files.SMALL = files.SMALL, 0
    try:
        index = a_set(tmp_path, content)
    finally:
        files.SMALL = small
    assert index.stretch(0) is not None
    wanted = [n for n, row in enumerate(rows) if text.casefold() in " ".join(row).casefold()]
    assert found(index, with_text(text), start=min(start, len(rows))) == wanted


def test_names_of_fields_are_no_words() -> None:
    assert list(words({"a": ["b", {"c": "d"}], "e": None, "f": 7, "g": 0.5})) == ["b", "d", "7"]


TALKS = [
    {"instruction": "Say hi", "output": "hi"},
    {"instruction": "Where is Paris?", "output": "In France.\nIt is large.", "system": "Be kind"},
    {"instruction": "no answer"},
    {"instruction": "Long", "output": "x" * 3000, "history": [["one", "two"], ["three", "four"]]},
]


@pytest.fixture
def talks(tmp_path: Path) -> RowIndex:
    columns = {"prompt": "instruction", "response": "output", "system": "system",
               "history": "history"}  # fmt: skip
    return a_set(tmp_path, "".join(json.dumps(row) + "\n" for row in TALKS), columns=columns)


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [("w.ere|^no", [1, 2]), ("^it", [1]), (r"\bHI\b", [0]), ("(?-i:HI)", []), ("x{3000}", [3])],
)
def test_expressions(pattern: str, wanted: list[int], talks: RowIndex) -> None:
    assert found(talks, with_pattern(pattern)) == wanted


@pytest.mark.parametrize("pattern", ["(", "[a", "", "(?P<1>a)"])
def test_what_is_no_expression_is_told(pattern: str) -> None:
    with pytest.raises(BadInput) as caught:
        with_pattern(pattern)
    assert caught.value.problem.hint


def test_an_expression_that_runs_away_is_given_up_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.datasets.browse.wanted.SECONDS_A_ROW", 0.1)
    rows = a_set(tmp_path, json.dumps({"a": "ab" * 400 + "!"}) + "\n")
    with pytest.raises(BadInput, match="row 1"):
        found(rows, with_pattern("(a|b|ab)*[cd]"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("role=system", [1]),
        ("role=assistant", [0, 1, 3]),
        ("role=tool", []),
        ("turns>2", [3]),
        ("turns=2", [0, 1]),
        ("chars>2,000", [3]),
        ("chars<=8", [0]),
        ("turns>=2 chars<100 role=system", [1]),
        ("bad", [2]),
    ],
)
def test_filters(text: str, wanted: list[int], talks: RowIndex) -> None:
    assert found(talks, with_filter(text)) == wanted


@pytest.mark.parametrize(
    "text", ["", "role", "role=nobody", "role>user", "turns", "turns=x", "bad=1", "colour=red"]
)
def test_conditions_that_cant_be_read_are_told(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        with_filter(text)
    assert caught.value.problem.what.endswith(".") and caught.value.problem.hint


def test_a_walk_goes_round_and_leads_from_match_to_match(tmp_path: Path) -> None:
    numbers = random.Random(3).sample(range(200), 20)
    rows = a_set(
        tmp_path,
        "".join(json.dumps({"a": "yes" if n in numbers else "no"}) + "\n" for n in range(200)),
    )
    walk = RowWalk(rows, with_text("yes"), start=117)
    walk.join(30)
    place, seen = 116, []
    for _step in range(20):
        following = walk.next_from(place)
        assert following is not None
        place = following
        seen.append(place)
    ordered = sorted(numbers)
    assert seen == [n for n in ordered if n > 116] + [n for n in ordered if n < 117]
    assert walk.next_from(place) == seen[0]
    assert RowWalk(rows, with_text("yes"), start=200).next_from(0) in (None, ordered[0])


def test_a_walk_through_an_order_finds_places_in_it(tmp_path: Path) -> None:
    rows = a_set(tmp_path, "".join(json.dumps({"a": f"row {n}."}) + "\n" for n in range(50)))
    assert found(rows, with_text("row 7."), numbers=[40, 7, 3]) == [1]
    assert found(rows, with_text("row 9."), numbers=[40, 7, 3]) == []


def test_next_is_unknown_until_the_walk_has_come_there(tmp_path: Path) -> None:
    rows = a_set(tmp_path, "".join(json.dumps({"a": n}) + "\n" for n in range(10)))
    hold = threading.Event()

    def test(rows: RowIndex, index: int) -> bool:
        if index == 7:
            hold.wait(30)
        return index in (2, 6, 8)

    told = threading.Event()
    walk = RowWalk(rows, Wanted(test), start=4, told=told.set)
    assert told.wait(30)
    assert walk.next_from(5) == 6 and walk.settled_from(5)
    assert walk.next_from(6) is None and not walk.settled_from(6)
    assert walk.next_from(0) is None and not walk.settled_from(0), "row 2 is not reached yet"
    hold.set()
    walk.join(30)
    assert (walk.next_from(6), walk.next_from(0), walk.next_from(8)) == (8, 2, 2)


def test_a_walk_can_be_given_up(tmp_path: Path) -> None:
    rows = a_set(tmp_path, "".join(json.dumps({"a": n}) + "\n" for n in range(1000)))
    reached, hold = threading.Event(), threading.Event()
    asked: list[int] = []

    def test(rows: RowIndex, index: int) -> bool:
        asked.append(index)
        reached.set()
        hold.wait(30)
        return True

    walk = RowWalk(rows, Wanted(test))
    assert reached.wait(30)
    walk.cancel()
    hold.set()
    walk.join(30)
    assert asked == [0] and walk.found == 1 and walk.done


def test_the_place_in_a_row_is_shown(talks: RowIndex) -> None:
    wanted = with_text("france")
    assert excerpt(talks, 1, wanted, 6) == "In France. It i…"
    assert excerpt(talks, 3, with_pattern("x+$"), 3).startswith("xxx")
    assert excerpt(talks, 0, wanted, 6) == ""
