"""Rows looked for, filtered and sorted on the screen; a set that is still being indexed."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import engine.datasets.files as files
import engine.datasets.index.layout as layout
from engine.datasets.index.source import PlainSource
from tui.panes.data import DataView

ROWS = [
    {
        "instruction": f"Question {n}: {'word ' * (n * 7 % 11 + 1)}",
        "output": "Paris" if n % 10 == 3 else "no",
        "system": "be kind" if n % 4 == 1 else "",
    }
    for n in range(60)
]
COLUMNS = {"prompt": "instruction", "response": "output", "system": "system"}


def own_set(home: Path, rows: list[Any]) -> Path:
    folder = home / "sets"
    folder.mkdir(exist_ok=True)
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    registry = {"mine": {"file_name": "mine.jsonl", "columns": COLUMNS}}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    return folder


async def rows_of(shown: Any, folder: Path) -> DataView:
    shown.studio.change_many({"dataset_dir": str(folder), "dataset": "mine"})
    shown.studio.read_datasets()
    shown.app.show()
    await shown.settle()
    await shown.press("2", "enter")
    view = shown.app.views["data"]
    assert isinstance(view, DataView)
    return view


async def line(shown: Any, key: str, text: str) -> None:
    """Open the line of a key, and type into it."""
    await shown.press(key, "ctrl+u")
    shown.app.screen.query_one("Input").value = text
    await shown.press("enter")
    await shown.settle()


def row(shown: Any) -> int:
    view = shown.app.views["data"]
    assert view.row is not None and f"row {view.row.index + 1} of" in shown.text
    return int(view.row.index)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_an_expression_is_searched_and_left_by_escape(
    open_screen: Any, home: Path, size: tuple[int, int]
) -> None:
    async with open_screen(size) as shown:
        await rows_of(shown, own_set(home, ROWS))
        assert "n next match" not in shown.key_line
        await line(shown, "slash", "/^par.s$/")
        await shown.until(lambda: "6 matches" in shown.text)
        assert row(shown) == 3
        await shown.press("n")
        assert row(shown) == 13
        await shown.press(*"nnnnn")
        assert row(shown) == 3, "round the end"
        await shown.press("escape")
        assert "matches" not in shown.text and row(shown) == 3
        assert shown.app.views["data"].search is None


async def test_a_search_begins_in_the_list_of_sets_too(open_screen: Any, home: Path) -> None:
    async with open_screen() as shown:
        await rows_of(shown, own_set(home, ROWS))
        await shown.press("escape")
        assert shown.app.focused is shown.app.rail.data
        await line(shown, "slash", "Paris")
        assert row(shown) == 3 and shown.places == ["data"]


async def test_what_cant_be_searched_or_filtered_is_told_in_the_line(
    open_screen: Any, home: Path
) -> None:
    async with open_screen() as shown:
        await rows_of(shown, own_set(home, ROWS))
        await line(shown, "slash", "/(/")
        assert "not a regular expression" in shown.text and shown.dialogs == 1
        await shown.press("escape")
        await line(shown, "f", "colour=red")
        assert "is not known" in shown.text and shown.dialogs == 1
        await shown.press("escape")
        await line(shown, "slash", "[/b] nowhere")
        await shown.until(lambda: "No row holds" in shown.text)


async def test_a_filter_shows_only_its_rows_until_it_is_left(open_screen: Any, home: Path) -> None:
    async with open_screen() as shown:
        view = await rows_of(shown, own_set(home, ROWS))
        await line(shown, "f", "role=system")
        await shown.until(lambda: "only role=system: 15 rows" in shown.text)
        assert row(shown) == 1
        await shown.press("down", "down")
        assert row(shown) == 9
        await line(shown, "slash", "paris")
        await shown.until(lambda: view._index == 13)
        assert row(shown) == 13, "the first match among the rows shown"
        await shown.press("escape", "escape")
        assert "only" not in shown.text and row(shown) == 13, "the row in view stays"
        await line(shown, "f", "turns>9")
        await shown.until(lambda: "only turns>9: 0 rows" in shown.text)
        assert not shown.app._told
        await line(shown, "f", "")
        assert "only" not in shown.text


async def test_a_filter_by_tokens_follows_the_cutoff(
    open_screen: Any, home: Path, tiny_model: Path
) -> None:
    async with open_screen(model=str(tiny_model)) as shown:
        view = await rows_of(shown, own_set(home, ROWS))
        await shown.press("o")
        await shown.until(lambda: "longest first" in shown.text)
        lengths = list(view.order.lengths.lengths)
        await shown.press("o", "o")
        limit = sorted(lengths)[30]
        await line(shown, "f", f"tokens > {limit}")
        await shown.until(lambda: view.order.walk is not None and view.order.walk.done)
        wanted = [n for n, length in enumerate(lengths) if length > limit]
        assert list(view.order.numbers) == wanted and 0 < len(wanted) < 60
        assert f"only tokens > {limit}: {len(wanted)} rows" in shown.text
        shown.studio.change("cutoff_len", limit)
        await line(shown, "f", "cut")
        await shown.until(lambda: f"only cut: {len(wanted)} rows" in shown.text)
        # Another cutoff cuts other rows: the filter is gone through again.
        shown.studio.change("cutoff_len", max(lengths) - 1)
        shown.app.show()
        longest = [n for n, length in enumerate(lengths) if length == max(lengths)]
        await shown.until(lambda: list(view.order.numbers or ()) == longest)
        assert f"only cut: {len(longest)} rows" in shown.text
        await shown.press("escape")
        assert "only" not in shown.text


async def test_the_syntax_of_filters_is_in_the_line_and_in_help(
    open_screen: Any, home: Path
) -> None:
    async with open_screen((80, 24)) as shown:
        await rows_of(shown, own_set(home, ROWS))
        await shown.press("f")
        assert "tokens>1024  cut  trained=0" in shown.text and "empty shows all" in shown.text
        shown.app.screen.query_one("Input").value = "token>5"
        await shown.press("enter")
        assert "'token>5' is not known. Did you mean tokens?" in shown.text
        shown.app.screen.query_one("Input").value = "colour=red"
        await shown.press("enter")
        assert "trained=0  bad" in shown.text, "a long sentence is wrapped, not cut"
        assert "Enter ok   Esc close" in shown.text
        await shown.press("escape", "question_mark")
        seen = shown.text
        await shown.press("pagedown")
        assert "nothing of it is learned" in seen + shown.text


async def test_rows_are_sorted_by_their_tokens(
    open_screen: Any, home: Path, tiny_model: Path
) -> None:
    async with open_screen(model=str(tiny_model)) as shown:
        view = await rows_of(shown, own_set(home, ROWS))
        await shown.press("down", "down", "o")
        await shown.until(lambda: "longest first" in shown.text)
        lengths = []
        for _row in range(60):
            assert view.row is not None
            lengths.append((-len(view.row.pieces), view.row.index))
            await shown.press("down")
        assert lengths == sorted(lengths) and len(set(lengths)) == 60
        await shown.press("o")
        await shown.until(lambda: "shortest first" in shown.text)
        assert view.row is not None and -len(view.row.pieces) == max(lengths)[0]
        await shown.press("o")
        assert "shortest first" not in shown.text and view.order.numbers is None


async def test_sorting_without_a_model_is_told(open_screen: Any, home: Path) -> None:
    async with open_screen() as shown:
        view = await rows_of(shown, own_set(home, ROWS))
        shown.studio.change("model_name_or_path", str(home / "nowhere"))
        await shown.press("o")
        await shown.until(lambda: "nowhere" in shown.text)
        assert view.order.sort == "" and not shown.app._told


async def test_another_set_drops_search_and_filter(open_screen: Any, home: Path) -> None:
    folder = own_set(home, ROWS)
    registry = json.loads((folder / "dataset_info.json").read_text())
    registry["other"] = {"file_name": "mine.jsonl", "columns": COLUMNS}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    async with open_screen() as shown:
        view = await rows_of(shown, folder)
        await line(shown, "f", "role=system")
        await shown.until(lambda: "15 rows" in shown.text)
        shown.app.rail.data.select("other")
        await shown.settle()
        assert "other   row 1 of 60" in shown.text and "only" not in shown.text
        assert view.order.filter == "" and view.search is None


@pytest.mark.slow
@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_first_rows_are_shown_while_the_rest_is_indexed(
    open_screen: Any, home: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{**ROWS[n % 60], "instruction": f"Question {n} " + "x" * 200} for n in range(3000)]
    hold = threading.Event()
    real = PlainSource.pread

    def slow(self: PlainSource, count: int, place: int) -> bytes:
        if place > 300_000 and threading.current_thread().name.startswith("finetui-index"):
            hold.wait(60)
        return real(self, count, place)

    folder = own_set(home, many)
    async with open_screen(size) as shown:
        monkeypatch.setattr(files, "SMALL", 1000)
        monkeypatch.setattr("engine.datasets.counts._COUNT_UP_TO", 1000)
        monkeypatch.setattr(layout, "CHUNK", 100_000)
        monkeypatch.setattr(PlainSource, "pread", slow)
        view = await rows_of(shown, folder)
        await shown.until(lambda: "indexing" in shown.text and "Question 0" in shown.text)
        assert view.row is not None and 0 < view.row.total < 3000
        assert f"row 1 of {view.row.total:,}+" in shown.text
        await line(shown, "g", "2900")
        assert "Row 2,900: not indexed yet …" in shown.text and "indexing" in shown.text
        hold.set()
        await shown.until(lambda: "row 2,900 of 3,000" in shown.text)
        assert "indexing" not in shown.text and "Question 2899" in shown.text
        entry = view.entry_shown
        assert entry is not None and entry.rows == 3000
        assert shown.studio.rows is not None
        shown.studio.read_datasets()
        assert view.entry_shown is not None and view.entry_shown.rows == 3000, "it is remembered"
        await line(shown, "g", "4000")
        assert "Type a number from 1 to 3,000." in shown.text


async def test_a_file_that_changes_is_read_anew(open_screen: Any, home: Path) -> None:
    folder = own_set(home, ROWS)
    async with open_screen() as shown:
        await rows_of(shown, folder)
        assert "row 1 of 60" in shown.text
        own_set(home, ROWS[:7])
        await shown.press("down")
        assert "row 2 of 7" in shown.text
