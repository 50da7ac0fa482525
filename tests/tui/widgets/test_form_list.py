"""A form that draws itself: rows, the cursor, choices, and a value that is typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from textual.app import App, ComposeResult

from tui.widgets.form_list import FormList
from tui.widgets.form_row import FormRow

ROWS = (
    FormRow("#a", "Basics", kind="heading"),
    FormRow("stage", "Stage", "sft", "choice"),
    FormRow("epochs", "Epochs", "5", changed=True),
    FormRow("pack", "Packing", "", "switch"),
    FormRow("alpha", "Alpha", "16", typed=""),
    FormRow("", "", kind="note"),
    FormRow("§b", "Saving", "6 settings", "fold"),
    FormRow("paged", "Paged", "off", "switch", dimmed="needs: pip install somewhere"),
)


class Form(App[None]):
    def __init__(self, rows: Sequence[FormRow], width: int = 50, height: int = 14) -> None:
        super().__init__()
        self.form = FormList("Settings", empty="Nothing here.")
        self.form.styles.width, self.form.styles.height = width, height
        self.rows = rows
        self.heard: list[tuple[object, ...]] = []

    BINDINGS: ClassVar = [
        ("enter", "edit", ""),
        ("left", "previous", ""),
        ("right", "next", ""),
        ("space", "flip", ""),
    ]

    def compose(self) -> ComposeResult:
        yield self.form

    def on_mount(self) -> None:
        self.form.set_rows(self.rows)
        self.form.focus()

    def action_edit(self) -> None:
        self.form.action_edit()

    def action_previous(self) -> None:
        self.form.action_previous_choice()

    def action_next(self) -> None:
        self.form.action_next_choice()

    def action_flip(self) -> None:
        self.form.action_flip()

    def on_form_list_stepped(self, event: FormList.Stepped) -> None:
        self.heard.append(("stepped", event.key, event.by))

    def on_form_list_edited(self, event: FormList.Edited) -> None:
        if type(event) is FormList.Edited:
            self.heard.append(("edited", event.key, event.text))

    def on_form_list_typing(self, event: FormList.Typing) -> None:
        self.form.show_typed_problem("" if event.text.isdigit() else "It takes a number.")

    def on_form_list_opened(self, event: FormList.Opened) -> None:
        self.heard.append(("opened", event.key))

    @property
    def lines(self) -> list[str]:
        strips = self.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]


async def test_values_start_in_one_column_and_changed_ones_are_marked() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.lines[1].strip("┃ ") == "Basics"
        column = app.lines[2].index("‹ sft ›")
        assert app.lines[3].index("5") == app.lines[4].index("[ ]") == column
        assert "●" in app.lines[3] and "●" not in app.lines[2]
        assert column - app.lines[2].index("Stage") <= 28
        assert "▸ Saving" in app.lines[7] and "6 settings" in app.lines[7]
        assert "pip install somewhere" in app.lines[9]


async def test_the_cursor_leaves_out_headings_and_notes() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        keys = []
        for _turn in range(8):
            await pilot.pause()
            keys.append(app.form.cursor_key)
            await pilot.press("down")
        assert keys == ["stage", "epochs", "pack", "alpha", "§b", "paged", "paged", "paged"]
        await pilot.press("home")
        assert app.form.cursor_key == "stage"
        await pilot.press("end")
        assert app.form.cursor_key == "paged"


async def test_choices_switches_and_sections_answer_to_their_keys() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.press("enter", "right", "left", "space", "down", "down", "space", "right")
        await pilot.press("down", "down", "enter", "right", "left")
        await pilot.pause()
        assert app.heard == [
            ("stepped", "stage", 1),
            ("stepped", "stage", 1),
            ("stepped", "stage", -1),
            ("stepped", "stage", 1),
            ("stepped", "pack", 0),
            ("stepped", "pack", 0),
            ("opened", "§b"),
            ("opened", "§b"),
        ]


async def test_a_setting_that_lacks_its_package_can_not_be_changed() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.press("end", "enter", "space", "right")
        await pilot.pause()
        assert app.heard == [] and app.form.editing == ""


async def test_a_typed_value_is_said_when_it_is_confirmed() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.press("down", "enter", "7", "enter")
        await pilot.pause()
        assert app.heard == [("edited", "epochs", "7")]
        app.form.close_editor()
        await pilot.pause()
        assert app.focused is app.form


async def test_escape_drops_what_was_typed() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.press("down", "enter", "7")
        await pilot.pause()
        # The focus is in the editor, which is inside the frame: that stays lit.
        assert app.lines[0].startswith("┏━ Settings")
        await pilot.press("escape")
        await pilot.pause()
        assert app.heard == [] and app.form.editing == "" and app.focused is app.form


async def test_an_empty_value_is_edited_as_empty_whatever_it_comes_to() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.press("down", "down", "down", "enter", "enter")
        await pilot.pause()
        assert app.heard == [("edited", "alpha", "")]


@pytest.mark.parametrize("height", [14, 7])
async def test_a_wrong_value_keeps_its_text_and_moves_no_line(height: int) -> None:
    app = Form(ROWS, height=height)
    async with app.run_test() as pilot:
        await pilot.press("down", "down", "down", "enter")
        await pilot.pause()
        before = app.lines
        await pilot.press("x", "y")
        await pilot.pause()
        after = app.lines
        row = next(i for i, line in enumerate(after) if "Alpha" in line)
        assert "xy" in after[row]
        assert "It takes a number." in after[row + 1]
        same = [i for i in range(len(after)) if i not in (row, row + 1)]
        assert [after[i] for i in same] == [before[i] for i in same]
        await pilot.press("backspace", "backspace", "3")
        await pilot.pause()
        mended = app.lines
        assert "It takes a number." not in "\n".join(mended)
        assert [mended[i] for i in range(len(mended)) if i != row] == [
            before[i] for i in range(len(before)) if i != row
        ]


async def test_the_row_of_a_wrong_value_turns_to_the_error_colour() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.press("down", "enter", "x")
        await pilot.pause()
        line = app.form.draw_line(3, 50, 14)
        assert any("Epochs" in text and role.startswith("error") for text, role in line)


async def test_a_problem_of_a_row_stands_below_it_wrapped() -> None:
    rows = [FormRow("a", "First", "1", problem="word " * 20), FormRow("b", "Second", "2")]
    app = Form(rows, width=40)
    async with app.run_test() as pilot:
        await pilot.pause()
        text = "\n".join(app.lines)
        assert text.count("word") == 20
        assert text.index("word") < text.index("Second")


async def test_new_rows_keep_the_cursor_and_the_editor_on_its_row() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.press("down", "enter", "9")
        app.form.set_rows([ROWS[0], FormRow("new", "New one", "1"), *ROWS[1:]])
        await pilot.pause()
        assert app.form.cursor_key == "epochs"
        assert "9" in next(line for line in app.lines if "Epochs" in line)


async def test_the_first_heading_is_seen_from_the_start() -> None:
    app = Form(ROWS, height=6)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert "Basics" in app.lines[1]
        await pilot.press("end")
        assert "Basics" not in "\n".join(app.lines)
        await pilot.press("home")
        await pilot.pause()
        assert "Basics" in app.lines[1]


async def test_foreign_text_is_shown_and_never_obeyed() -> None:
    rows = [FormRow("a", "[b]x[/b]", "\x1b[31mred\u202e", problem="[/b]\x07")]
    app = Form(rows)
    async with app.run_test() as pilot:
        await pilot.pause()
        text = "\n".join(app.lines)
        assert "[b]x[/b]" in text and "␛[31mred⟨U+202E⟩" in text and "[/b]␇" in text


async def test_an_empty_form_says_so_and_keys_do_no_harm() -> None:
    app = Form([])
    async with app.run_test() as pilot:
        await pilot.press("down", "enter", "left", "space", "end", "pagedown")
        await pilot.pause()
        assert "Nothing here." in "\n".join(app.lines)


async def test_the_mouse_moves_the_cursor_and_opens_what_it_stands_on() -> None:
    app = Form(ROWS)
    async with app.run_test() as pilot:
        await pilot.click("FormList", offset=(5, 3))
        assert app.form.cursor_key == "epochs"
        await pilot.click("FormList", offset=(5, 3))
        await pilot.pause()
        assert app.form.editing == "epochs"
