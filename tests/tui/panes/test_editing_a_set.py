"""A set that stands is corrected, copied, renamed, taken off the list; files are never touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.datasets.registry import own_sets_dir
from engine.paths import bundled_data_dir
from tui.dialogs.add_set import SetForm
from tui.dialogs.edit_set import EditSet

ROWS = [{"question": f"how many {n}", "reply": f"exactly {n}", "second": "other"} for n in range(5)]
ENTRY = {
    "file_sha1": "kept",
    "file_name": "rows.json",
    "columns": {"prompt": "question", "response": "second"},
}


@pytest.fixture
def folder(home: Path) -> Path:
    place = home / "sets"
    place.mkdir()
    (place / "rows.json").write_text(json.dumps(ROWS))
    (place / "dataset_info.json").write_text(
        json.dumps({"mine": ENTRY, "z": {"file_name": "rows.json"}}, indent=2)
    )
    return place


def entries(folder: Path) -> dict[str, Any]:
    path = folder / "dataset_info.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


async def sets_of(shown: Any, folder: Path, name: str = "mine") -> None:
    shown.studio.change_many({"dataset_dir": str(folder), "dataset": "mine"})
    shown.studio.read_datasets()
    shown.app.show()
    await shown.settle()
    await shown.press("2")
    shown.app.rail.data.select(name)


async def editing(shown: Any) -> EditSet:
    await shown.until(lambda: isinstance(shown.app.screen, EditSet) and shown.app.screen.found)
    await shown.settle()
    screen = shown.app.screen
    assert isinstance(screen, EditSet)
    return screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_a_column_is_corrected_and_the_set_renamed(
    open_screen: Any, folder: Path, size: tuple[int, int]
) -> None:
    async with open_screen(size) as shown:
        await sets_of(shown, folder)
        await shown.press("E")
        screen = await editing(shown)
        assert "Edit the set   mine" in shown.text and "5 of 5 usable" in shown.text
        assert "‹ second ›" in shown.text and "other" in shown.text
        assert screen.query_one(SetForm).cursor_key == "name"
        await shown.press("enter", "end")
        await shown.type("2")
        await shown.press("enter")
        screen.query_one(SetForm).select("columns.response")
        await shown.press("left")
        assert "exactly 0" in shown.text
        await shown.press("w")
        await shown.until(lambda: shown.dialogs == 0)
        assert list(entries(folder)) == ["mine2", "z"]
        assert entries(folder)["mine2"] == {
            **ENTRY, "columns": {"prompt": "question", "response": "reply"}
        }  # fmt: skip
        assert shown.studio.chosen == ["mine2"], "the run goes on using it"
        row = shown.app.rail.data.cursor_row
        assert row is not None and row.key == "mine2" and row.mark == "✓"


async def test_leaving_writes_nothing(open_screen: Any, folder: Path) -> None:
    before = (folder / "dataset_info.json").read_bytes()
    async with open_screen() as shown:
        await sets_of(shown, folder)
        await shown.press("E")
        screen = await editing(shown)
        screen.query_one(SetForm).select("columns.response")
        await shown.press("left", "escape")
        assert shown.dialogs == 0
    assert (folder / "dataset_info.json").read_bytes() == before


async def test_a_name_that_is_taken_and_rows_that_cant_be_used_are_told(
    open_screen: Any, folder: Path
) -> None:
    async with open_screen() as shown:
        await sets_of(shown, folder)
        await shown.press("E")
        screen = await editing(shown)
        await shown.press("enter", "ctrl+u")
        await shown.type("z")
        await shown.press("enter", "w")
        await shown.until(lambda: bool(screen.name_fault))
        assert screen.name_fault == "There is a set 'z' already. Choose another name."
        assert "set 'z' already" in shown.text and "write over it" not in shown.text
        screen.query_one(SetForm).select("columns.prompt")
        while screen.found.draft.columns.get("prompt"):
            await shown.press("left")
        await shown.press("w")
        assert shown.dialogs == 1 and "None of the rows can be used so" in shown.text
        assert list(entries(folder)) == ["mine", "z"]


async def test_a_file_that_moved_is_given_anew(open_screen: Any, folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "rows.json").rename(folder / "deep" / "moved.json")
    async with open_screen() as shown:
        await sets_of(shown, folder)
        await shown.press("E")
        screen = await editing(shown)
        assert "There is no" in shown.text and "usable" not in shown.text
        screen.query_one(SetForm).select("file")
        await shown.press("enter", "ctrl+u")
        screen.query_one("Input").value = str(folder / "nowhere.json")
        await shown.press("enter")
        await shown.until(lambda: "There is no file nowhere.json" in shown.text)
        screen.query_one(SetForm).select("file")
        await shown.press("enter", "ctrl+u")
        screen.query_one("Input").value = str(folder / "deep" / "moved.json")
        await shown.press("enter")
        await shown.until(lambda: "5 of 5 usable" in shown.text)
        await shown.press("w")
        await shown.until(lambda: shown.dialogs == 0)
        assert entries(folder)["mine"] == {**ENTRY, "file_name": "deep/moved.json"}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_set_is_taken_off_the_list_after_a_question(
    open_screen: Any, folder: Path, size: tuple[int, int]
) -> None:
    async with open_screen(size) as shown:
        await sets_of(shown, folder)
        await shown.press("R")
        assert "Take off the list   mine" in shown.text and "files stay" in shown.text
        await shown.press("escape")
        assert list(entries(folder)) == ["mine", "z"]
        await shown.press("R", "y")
        await shown.until(lambda: list(entries(folder)) == ["z"])
        await shown.settle()
        assert shown.studio.chosen == [] and (folder / "rows.json").exists()
        assert [one.name for one in shown.studio.datasets] == ["z"]


async def test_a_bundled_set_says_so_and_is_copied(open_screen: Any, home: Path) -> None:
    before = (bundled_data_dir() / "dataset_info.json").read_bytes()
    async with open_screen() as shown:
        await shown.press("2")
        shown.app.rail.data.select("identity")
        await shown.press("R")
        assert "bundled set: those always stay" in shown.text
        await shown.press("escape", "E")
        assert "It is a bundled set" in shown.text and "c  copy to my sets" in shown.text
        await shown.press("c")
        line = shown.app.screen.query_one("Input")
        assert line.value == "my_identity"
        line.value = "texts"
        await shown.press("enter")
        assert "There is such a set already." in shown.text
        line.value = "who"
        await shown.press("enter")
        screen = await editing(shown)
        assert "Edit the set   who" in shown.text
        screen.query_one(SetForm).select("num_samples")
        await shown.press("enter")
        await shown.type("7")
        await shown.press("enter", "w")
        await shown.until(lambda: shown.dialogs == 0)
        entry = entries(own_sets_dir())["who"]
        assert entry["file_name"] == "who.json" and entry["num_samples"] == 7
        assert "{{name}}" not in (own_sets_dir() / "who.json").read_text()
        row = shown.app.rail.data.cursor_row
        assert row is not None and row.key == "who"
    assert (bundled_data_dir() / "dataset_info.json").read_bytes() == before


async def test_an_entry_that_cant_be_read_is_told_and_taken_out(
    open_screen: Any, folder: Path
) -> None:
    (folder / "dataset_info.json").write_text(
        '{"z": {"file_name": "rows.json"}, "odd": {"file_name": "rows.json", "formating": "x"}}'
    )
    async with open_screen() as shown:
        await sets_of(shown, folder, "odd")
        await shown.press("E")
        assert "'formating' is not known" in shown.text and "formatting?" in shown.text
        await shown.press("y")
        await shown.until(lambda: list(entries(folder)) == ["z"])
