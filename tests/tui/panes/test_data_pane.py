"""Sets on the rail, their rows one by one, the same row as tokens, and what is wrong with a set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tui.panes.data import DataView
from tui.panes.row_views import token_lines

ESCAPES = "[/b] \x1b[31mred\x1b[0m \u202eback"


async def rows_of(shown) -> DataView:
    await shown.press("2", "enter")
    view = shown.app.views["data"]
    assert isinstance(view, DataView)
    return view


def own_sets(home: Path, rows: list[object], name: str = "mine") -> Path:
    folder = home / "sets"
    folder.mkdir(exist_ok=True)
    (folder / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    registry = {name: {"file_name": "mine.json"}}
    (folder / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return folder


async def use_folder(shown, folder: Path, name: str = "mine") -> None:
    shown.studio.change_many({"dataset_dir": str(folder), "dataset": name})
    shown.studio.read_datasets()
    shown.app.show()
    await shown.settle()


async def test_the_bundled_sets_are_listed_those_that_do_not_suit_dimmed(open_screen) -> None:
    async with open_screen() as shown:
        assert "2 Data" in shown.text and "1 of 6" in shown.text
        rows = {row.key: row for row in shown.app.rail.data.rows}
        assert rows["identity"].mark == "✓" and rows["identity"].figures == ("91",)
        assert rows["preference"].dim and rows["preference"].figures == ("for rm, dpo …",)
        assert not rows["instructions"].dim


async def test_space_uses_a_set_and_everything_follows(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("2", "down", "space")
        assert shown.studio.chosen == ["identity", "instructions"]
        assert "2 of 6" in shown.text
        assert shown.studio.rows == 91 + 122
        await shown.press("space")
        assert shown.studio.chosen == ["identity"] and shown.studio.rows == 91
        await shown.press("up", "space")
        assert shown.studio.chosen == []
        assert "→ 1 fault: Enter" in shown.text


async def test_a_row_is_shown_as_a_conversation_as_raw_fields_and_as_tokens(
    open_screen, tiny_model: Path
) -> None:
    async with open_screen(model=str(tiny_model)) as shown:
        view = await rows_of(shown)
        assert "identity   row 1 of 91" in shown.text
        assert "Nova" in shown.text and "{{name}}" not in shown.text
        assert "<|im_start|>user⏎" in shown.text
        assert view.row is not None and view.row.pieces
        parts = [piece.part for piece in view.row.pieces]
        assert f"{parts.count('trained')} trained (accent)" in shown.text
        assert 0 < parts.count("trained") < len(parts)
        await shown.press("v")
        assert view.mode == "tokens"
        await shown.press("v")
        assert view.mode == "raw"
        assert "instruction" in shown.text and "output" in shown.text
        await shown.press("v")
        assert view.mode == "conversation"


async def test_what_the_cutoff_cuts_is_struck_out(open_screen, tiny_model: Path) -> None:
    async with open_screen(model=str(tiny_model)) as shown:
        shown.studio.change("cutoff_len", 40)
        view = await rows_of(shown)
        assert view.row is not None
        cut = sum(piece.part == "cut" for piece in view.row.pieces)
        assert cut > 0 and f"{cut} cut off (struck out)" in " ".join(shown.text.split())


async def test_tokens_wait_for_the_demo_model_and_say_so(open_screen) -> None:
    async with open_screen() as shown:
        await rows_of(shown)
        assert "once the demo model has been fetched" in shown.text


async def test_walking_going_to_and_searching_rows(open_screen) -> None:
    async with open_screen() as shown:
        view = await rows_of(shown)
        await shown.press("down", "down")
        assert "row 3 of 91" in shown.text
        await shown.press("up", "up", "up")
        assert "row 1 of 91" in shown.text
        await shown.press("g")
        await shown.type("500")
        await shown.press("enter")
        assert "Type a number from 1 to 91." in shown.text
        await shown.press("backspace", "backspace", "backspace")
        await shown.type("91")
        await shown.press("enter")
        assert "row 91 of 91" in shown.text
        await shown.press("down")
        assert "row 91 of 91" in shown.text
        await shown.press("slash")
        await shown.type("who are you")
        await shown.press("enter")
        first = view._index
        assert view.row is not None
        assert "who are you" in json.dumps(view.row.raw).lower()
        await shown.press("n")
        assert view._index != first
        await shown.press("slash", "ctrl+u")
        await shown.type("zzqq")
        await shown.press("enter")
        assert "No row holds" in shown.text


async def test_the_view_of_tokens_has_the_room_of_the_panel_that_told_them(open_screen) -> None:
    async with open_screen() as shown:
        view = await rows_of(shown)
        low = view.row_panel.size.height
        assert "the same row as tokens" in shown.text
        await shown.press("v")
        assert "the same row as tokens" not in shown.text
        assert view.row_panel.size.height > low + 5 and "identity.json" in shown.text
        await shown.press("v")
        assert "the same row as tokens" in shown.text


async def test_each_set_keeps_its_place_and_shows_its_kind(open_screen) -> None:
    async with open_screen() as shown:
        await rows_of(shown)
        await shown.press("down", "down", "escape", "down")
        assert "instructions   row 1 of 122" in shown.text
        for _set in range(4):
            await shown.press("down")
            assert not shown.app._told
        await shown.press("home")
        assert "identity   row 3 of 91" in shown.text
        shown.app.rail.data.select("preference")
        await shown.settle()
        assert "chosen" in shown.text and "rejected" in shown.text
        assert "not for this stage" in shown.text
        # The whole reason, however many lines it takes.
        assert "preference stages such as dpo" in shown.text
        shown.app.rail.data.select("tools")
        await shown.settle()
        assert "tool" in shown.text


@pytest.mark.parametrize(
    "size",
    [(80, 24), *(pytest.param(one, marks=pytest.mark.slow) for one in [(120, 40), (200, 50)])],
)
async def test_a_long_row_scrolls(open_screen, home: Path, size) -> None:
    text = "\n".join(f"line {number}" for number in range(200))
    folder = own_sets(home, [{"instruction": "long", "input": "", "output": text}])
    async with open_screen(size) as shown:
        await use_folder(shown, folder)
        await rows_of(shown)
        assert "line 3" in shown.text and "line 150" not in shown.text
        await shown.press("j", "j", "j", "j", "j", "j")
        assert "long" not in shown.app.views["data"].row_panel.picture_lines()[2]
        await shown.press(*["pagedown"] * 30)
        assert "line 199" in shown.text
        await shown.press(*["pageup"] * 30)
        assert "line 3" in shown.text
        await shown.press("j", "k")
        assert "row 1 of 1" in shown.text


async def test_foreign_text_in_rows_and_names_is_text(open_screen, home: Path, tiny_model) -> None:
    row = {"instruction": ESCAPES, "input": "", "output": "[link=x]y[/link]\x07"}
    folder = own_sets(home, [row], name="[b]set[/b]")
    async with open_screen(model=str(tiny_model)) as shown:
        await use_folder(shown, folder, "[b]set[/b]")
        await rows_of(shown)
        assert "[b]set[/b]" in shown.text
        assert "[/b] ␛[31mred␛[0m ⟨U+202E⟩back" in shown.text
        assert "[link=x]y[/link]␇" in shown.text
        assert not any(sign in shown.text for sign in "\x1b\x07\u202e")
        await shown.press("v", "v")
        assert "␛[31m" in shown.text
        assert not shown.app._told


async def test_a_row_without_an_answer_is_told_with_its_number(open_screen, home: Path) -> None:
    folder = own_sets(home, [{"instruction": "a", "input": "", "output": "b"}, {"other": "x"}])
    async with open_screen() as shown:
        await use_folder(shown, folder)
        view = await rows_of(shown)
        await shown.press("down")
        assert view.row is not None and view.row.problem
        assert "row 2 of 2" in shown.text and "other" in shown.text


@pytest.mark.parametrize("content", ["[{", "", '{"a": 1'])
async def test_a_file_that_is_no_json_is_told_and_the_screen_lives(
    open_screen, home: Path, content: str
) -> None:
    folder = own_sets(home, [])
    (folder / "mine.json").write_text(content, encoding="utf-8")
    async with open_screen() as shown:
        await use_folder(shown, folder)
        await rows_of(shown)
        assert "mine.json" in shown.text
        await shown.press("down", "v", "escape", "escape", "3")
        assert not shown.app._told and shown.places == ["settings"]


async def test_a_set_that_is_not_there_is_marked_on_the_rail(open_screen) -> None:
    async with open_screen() as shown:
        shown.studio.change("dataset", "identity,nowhere")
        shown.app.action_form_changed()
        await shown.settle()
        rows = {row.key: row for row in shown.app.rail.data.rows}
        assert rows["nowhere"].mark == "✗"
        await shown.press("2", "end", "space")
        assert shown.studio.chosen == ["identity"]


async def test_another_folder_is_asked_for_and_checked(open_screen, home: Path) -> None:
    own_sets(home, [{"instruction": "a", "input": "", "output": "b"}])
    (home / "empty").mkdir()
    async with open_screen() as shown:
        await shown.press("2", "d")
        await shown.type("nowhere")
        await shown.press("enter")
        assert "There is no such folder." in shown.text
        await shown.press("ctrl+u")
        await shown.type("empty")
        await shown.press("enter")
        assert "It holds no dataset_info.json." in shown.text
        await shown.press("ctrl+u")
        await shown.type("sets")
        await shown.press("enter")
        assert shown.dialogs == 0
        assert "mine" in [row.key for row in shown.app.rail.data.rows]


def test_tokens_are_laid_out_with_their_parts() -> None:
    pieces = [("Hi there\n", "prompt"), ("你好", "trained"), ("x" * 30, "cut")]
    lines = token_lines(pieces, 20)
    assert all(sum(len(text) for text, _role in line) <= 20 for line in lines)
    text = "".join(text for line in lines for text, _role in line)
    assert text == "Hi·there⏎你好" + "x" * 30
    roles = {role for line in lines for _text, role in line}
    assert roles == {"dim", "accent", "warning strike"}


async def test_without_colours_signs_tell_the_parts_of_a_row(
    open_screen, home, tiny_model, monkeypatch
) -> None:
    folder = home / "sets"
    folder.mkdir()
    (folder / "one.json").write_text(
        json.dumps([{"instruction": "hello there", "output": "word " * 60}])
    )
    (folder / "dataset_info.json").write_text('{"one": {"file_name": "one.json"}}')
    monkeypatch.setenv("FINETUI_COLORS", "none")
    async with open_screen((80, 24), model=str(tiny_model)) as shown:
        shown.studio.change_many({"dataset_dir": str(folder), "dataset": "one", "cutoff_len": 60})
        shown.studio.read_datasets()
        await shown.press("2", "enter", "v")
        assert "trained (in [ ])" in shown.text and "cut off (in { })" in shown.text
        text = "".join(line.strip("┃ ") for line in shown.lines)
        assert "⏎[" in text and "]{" in text and "}" in text.split("]{", 1)[1]
        monkeypatch.setenv("FINETUI_COLORS", "256")
        await shown.press("v", "v", "v")
        assert "trained (accent)" in shown.text and "]{" not in shown.text


async def test_a_set_that_the_folder_lacks_says_so(open_screen, home: Path) -> None:
    folder = home / "sets"
    folder.mkdir()
    (folder / "one.json").write_text(json.dumps([{"instruction": "q", "output": "a"}]))
    (folder / "dataset_info.json").write_text(
        '{"one": {"file_name": "one.json"}, "gone": {"file_name": "nowhere.json"}}'
    )
    async with open_screen() as shown:
        shown.studio.change_many({"dataset_dir": str(folder), "dataset": "other"})
        shown.studio.read_datasets()
        shown.app.show()
        await shown.press("2")
        figures = {row.key: row.figures for row in shown.app.rail.data.rows}
        assert figures == {"one": ("1",), "gone": ("✗",), "other": ("?",)}
        shown.app.rail.data.select("other")
        await shown.settle()
        assert "This folder has no set other." in shown.text
        await shown.press("space")
        assert shown.studio.chosen == [] and "no set other" not in shown.text
        shown.app.rail.data.select("gone")
        await shown.press("enter")
        assert "There is no" in shown.text and "[/" not in shown.text, "where stands by itself"
