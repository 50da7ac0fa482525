"""A form as one list that draws itself, with an editor on the focused row only.

Three hundred settings cost what thirty lines cost: a widget for each would take seconds to open and
kilobytes to move through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding
from textual.message import Message

from tui.widgets.form_row import FormRow, row_line, value_column
from tui.widgets.frame import Framed, Line
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from textual.widgets import Input


class FormList(Framed):
    """Rows to walk through and edit. It keeps no values: it says what a person wants changed, and
    shows the rows it is given back."""

    DEFAULT_CSS = """
    FormList { layout: vertical; overflow: hidden; }
    FormList > Input {
        position: absolute; height: 1; border: none; padding: 0; background: ansi_default;
    }
    FormList > Input.wrong { color: $error; }
    """

    BINDINGS: ClassVar = [
        Binding("up", "move(-1)", "up", show=False, id="list.up"),
        Binding("down", "move(1)", "down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page_up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page_down"),
        Binding("home", "page(-1000)", "first", show=False, id="list.first"),
        Binding("end", "page(1000)", "last", show=False, id="list.last"),
    ]

    class FormMessage(Message):
        """Something happened to the row with `key`."""

        def __init__(self, form: FormList, key: str) -> None:
            super().__init__()
            self.form = form
            self.key = key

        @property
        def control(self) -> FormList:
            return self.form

    class Highlighted(FormMessage):
        """The cursor came to a row."""

    class Opened(FormMessage):
        """Enter on a closed section, or on a row without an editor of its own."""

    class Stepped(FormMessage):
        """The next (`by` 1) or previous (-1) choice is wanted; 0 flips a switch."""

        def __init__(self, form: FormList, key: str, by: int) -> None:
            super().__init__(form, key)
            self.by = by

    class Edited(FormMessage):
        """A value was typed and confirmed."""

        def __init__(self, form: FormList, key: str, text: str) -> None:
            super().__init__(form, key)
            self.text = text

    class Typing(Edited):
        """A value is being typed: it may be checked, and is not to be taken yet."""

    def __init__(
        self, title: str | Line = "", figure: str | Line = "", *, empty: str = "", **options: object
    ) -> None:
        super().__init__(title, figure, **options)  # type: ignore[arg-type]
        self._rows: tuple[FormRow, ...] = ()
        # Each line: its row, and the part of the row's problem that stands there (0: the row).
        self._lines: list[tuple[int, int]] = []
        self._problems: dict[int, list[str]] = {}
        self._cursor = -1
        self._first = 0
        self._editor: Input | None = None
        self._editing = ""
        self._typed_problem = ""
        self._empty = empty

    # What it shows

    @property
    def rows(self) -> tuple[FormRow, ...]:
        return self._rows

    @property
    def cursor_key(self) -> str:
        """The key of the row the cursor stands on; empty where there is none."""
        return self._rows[self._cursor].key if 0 <= self._cursor < len(self._rows) else ""

    @property
    def editing(self) -> str:
        """The key of the row that is being edited, or an empty text."""
        return self._editing

    def set_rows(self, rows: Iterable[FormRow]) -> None:
        """The rows to show; the cursor stays on the row with its key."""
        new = tuple(rows)
        if new == self._rows:
            return
        key = self.cursor_key
        self._rows = new
        places = [index for index, row in enumerate(new) if row.key == key and row.can_stop]
        if places:
            self._cursor = places[0]
        else:
            self._cursor = self._nearest(max(0, min(self._cursor, len(new) - 1)), 1)
        self._lay_out()
        self.content_changed()

    def select(self, key: str) -> bool:
        """Puts the cursor on the row with `key`."""
        for index, row in enumerate(self._rows):
            if row.key == key:
                self._move_to(index)
                return True
        return False

    # Drawing

    def _lay_out(self) -> None:
        """Which row, and which line of it, stands on each line: a problem takes lines below."""
        self._lines = []
        self._problems = {}
        for index, row in enumerate(self._rows):
            self._lines.append((index, 0))
            self._problems[index] = self._wrapped(row.problem or row.dimmed or row.remark)
            for extra in range(len(self._problems[index])):
                self._lines.append((index, extra + 1))
        self._keep_in_view()
        self._place_editor()

    def _wrapped(self, text: str) -> list[str]:
        return wrap_cells(visible(text), max(10, self.content_width - 6)) if text else []

    def _typed_line(self, place: int, width: int) -> Line | None:
        """The reason why a typed value is wrong, drawn over the lines below its row: they come back
        when it is mended, and none of them moves meanwhile."""
        if not (self._editing and self._typed_problem):
            return None
        lines = self._wrapped(self._typed_problem)
        extra = place - self._cursor_line - 1
        return [("     " + lines[extra], "error")] if 0 <= extra < len(lines) else None

    @property
    def _cursor_line(self) -> int:
        """The line of the list on which the cursor's row begins."""
        return next((p for p, (index, _) in enumerate(self._lines) if index == self._cursor), 0)

    @property
    def value_column(self) -> int:
        """The cell where every value starts: at most 28 after the label's beginning."""
        return value_column(self._rows, self.content_width)

    def content_line(self, y: int, width: int) -> Line:
        if not self._rows:
            lines = wrap_cells(visible(self._empty), max(1, width - 2))
            return [(f" {lines[y]}", "dim")] if y < len(lines) else ()
        place = y + self._first
        typed = self._typed_line(place, width)
        if typed is not None:
            return typed
        if place >= len(self._lines):
            return ()
        index, extra = self._lines[place]
        row = self._rows[index]
        if extra:
            text = self._problems[index][extra - 1]
            return [("     " + text, "error" if row.problem else "dim")]
        wrong = bool(row.key == self._editing and self._typed_problem)
        line = row_line(row, width, self.value_column, wrong)
        if index == self._cursor and self.has_focus:
            used = sum(cell_len(text) for text, _ in line)
            return [
                *((text, f"{role} reverse") for text, role in line),
                (" " * (width - used), "text reverse"),
            ]
        return line

    @property
    def lit(self) -> bool:
        """Also while a value is being typed: the focus is in its editor then."""
        return super().lit or bool(self._editing)

    # Moving

    def _nearest(self, index: int, way: int) -> int:
        """The first row from `index` in direction `way` that the cursor may stand on, else the
        first the other way."""
        for step in (way, -way):
            place = index
            while 0 <= place < len(self._rows):
                if self._rows[place].can_stop:
                    return place
                place += step
        return -1

    def _keep_in_view(self) -> None:
        height = self.content_height
        if height <= 0:
            self._first = 0
            return
        lines = [place for place, (index, _) in enumerate(self._lines) if index == self._cursor]
        # A value that is being typed keeps the line below it in view: its fault stands there.
        spare = 1 if self._editing and height > 1 else 0
        first = max(0, min(self._first, len(self._lines) + spare - height))
        if lines:
            top = lines[0]
            # The heading above the first row of a section is worth seeing too.
            if top > 0 and self._rows[self._lines[top - 1][0]].kind == "heading":
                top -= 1
            if top < first:
                first = top
            elif lines[-1] + spare >= first + height:
                first = lines[-1] + spare - height + 1
        self._first = first

    def _move_to(self, index: int) -> None:
        if index < 0 or index == self._cursor:
            return
        self._cursor = index
        self._keep_in_view()
        self.content_changed()
        self.post_message(self.Highlighted(self, self._rows[index].key))

    def action_move(self, by: int) -> None:
        target = self._cursor + by
        if not 0 <= target < len(self._rows):
            return
        place = target
        while 0 <= place < len(self._rows) and not self._rows[place].can_stop:
            place += by
        if 0 <= place < len(self._rows):
            self._move_to(place)
        elif by < 0 and self._first > 0:
            # Above the first row stands only its heading: show it.
            self._first = 0
            self.content_changed()

    def action_page(self, pages: int) -> None:
        by = pages * max(1, self.content_height - 2)
        target = max(0, min(self._cursor + by, len(self._rows) - 1))
        self._move_to(self._nearest(target, 1 if by > 0 else -1))

    # Changing

    @property
    def _row(self) -> FormRow | None:
        return self._rows[self._cursor] if 0 <= self._cursor < len(self._rows) else None

    def action_edit(self) -> None:
        row = self._row
        if row is None or row.dimmed:
            return
        if row.kind == "text":
            self._open_editor(row)
        elif row.kind == "switch":
            self.post_message(self.Stepped(self, row.key, 0))
        elif row.kind == "choice":
            self.post_message(self.Stepped(self, row.key, 1))
        else:
            self.post_message(self.Opened(self, row.key))

    def action_previous_choice(self) -> None:
        self._step(-1)

    def action_next_choice(self) -> None:
        self._step(1)

    def action_flip(self) -> None:
        row = self._row
        if row is not None and row.kind == "fold":
            self.post_message(self.Opened(self, row.key))
        elif row is not None and row.kind in ("switch", "choice") and not row.dimmed:
            self.post_message(self.Stepped(self, row.key, 0 if row.kind == "switch" else 1))

    def _step(self, by: int) -> None:
        row = self._row
        if row is None or row.dimmed:
            return
        if row.kind in ("choice", "switch"):
            self.post_message(self.Stepped(self, row.key, 0 if row.kind == "switch" else by))
        elif row.kind == "fold" and by > 0:
            self.post_message(self.Opened(self, row.key))

    def show_typed_problem(self, problem: str) -> None:
        """What is wrong with the value being typed; an empty text where nothing is."""
        if self._editing and problem != self._typed_problem:
            self._typed_problem = problem
            if self._editor is not None:
                self._editor.set_class(bool(problem), "wrong")
            self.content_changed()

    def _open_editor(self, row: FormRow) -> None:
        from textual.widgets import Input

        hint = row.value if row.typed is not None else ""
        self._editor = Input(row.to_edit, placeholder=hint, compact=True, select_on_focus=True)
        self._editing = row.key
        self._lay_out()
        self.picture_changed()
        self.mount(self._editor)
        self._editor.focus()

    def _place_editor(self) -> None:
        """The editor stands over its row's value, wherever that is now."""
        if self._editor is None:
            return
        column = self.value_column + 1
        edge = 1 if self.border == "box" else 0
        line = self._cursor_line - self._first + self.content_top
        self._editor.styles.offset = (column - 1 + edge, line)
        self._editor.styles.width = max(6, self.content_width - column)

    def close_editor(self) -> None:
        """Leaves the editor; what was typed and not confirmed is dropped."""
        if self._editor is None:
            return
        editor, self._editor = self._editor, None
        self._editing = ""
        self._typed_problem = ""
        editor.remove()
        self.focus()
        self._lay_out()
        self.picture_changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._editing:
            self.post_message(self.Typing(self, self._editing, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._editing:
            self.post_message(self.Edited(self, self._editing, event.value))

    def on_key(self, event: events.Key) -> None:
        if self._editor is not None and event.key == "escape":
            event.stop()
            self.close_editor()

    def on_descendant_blur(self) -> None:
        if self._editor is not None and not self._editor.has_focus:
            self.close_editor()

    # Mouse and size

    def on_click(self, event: events.Click) -> None:
        place = event.y - self.content_top + self._first
        if not 0 <= event.y - self.content_top < self.content_height or place >= len(self._lines):
            return
        index = self._lines[place][0]
        if index == self._cursor:
            self.action_edit()
        elif self._rows[index].can_stop:
            self._move_to(index)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(1)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-1)

    def on_resize(self) -> None:
        self._lay_out()
        self.content_changed()
