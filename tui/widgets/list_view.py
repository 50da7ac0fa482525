"""A list in a frame: a mark, a name, figures at the right; a cursor while it is focused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding
from textual.message import Message

from tui.widgets.frame import Framed, Line, Span, cut_line
from tui.widgets.numbers import end_cut, middle_cut
from tui.widgets.text_safe import visible, wrap_cells


@dataclass(frozen=True)
class ListRow:
    """One row. `key` tells it apart; `figures` stand right-aligned in columns at the right; `mark`
    is one cell before the name (`✓`), `mark_role` its colour. A `dim` row is shown dimmed, with
    `reason`, where there is one, instead of its figures."""

    key: str
    text: str
    figures: tuple[str, ...] = ()
    mark: str = ""
    mark_role: str = "ok"
    dim: bool = False
    reason: str = ""


class ListPanel(Framed):
    """Rows to walk through and to choose from. `empty` is what an empty list says; it should name
    what puts something into it."""

    BINDINGS: ClassVar = [
        Binding("up", "move(-1)", "up", show=False, id="list.up"),
        Binding("down", "move(1)", "down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page_up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page_down"),
        Binding("home", "first", "first", show=False, id="list.first"),
        Binding("end", "last", "last", show=False, id="list.last"),
        Binding("enter", "choose", "choose", show=False, id="list.choose"),
        Binding("space", "toggle_row", "mark", show=False, id="list.toggle"),
    ]

    class RowMessage(Message):
        """Something happened to a row of a list."""

        def __init__(self, panel: ListPanel, row: ListRow) -> None:
            super().__init__()
            self.panel = panel
            self.row = row

        @property
        def control(self) -> ListPanel:
            return self.panel

    class Highlighted(RowMessage):
        """The cursor moved to a row."""

    class Chosen(RowMessage):
        """Enter was pressed on a row, or it was clicked while the cursor stood on it."""

    class Toggled(RowMessage):
        """Space was pressed on a row."""

    def __init__(
        self,
        title: str | Line = "",
        figure: str | Line = "",
        *,
        empty: str = "",
        marks: bool = True,
        **options: object,
    ) -> None:
        super().__init__(title, figure, **options)  # type: ignore[arg-type]
        self._rows: tuple[ListRow, ...] = ()
        self._empty = empty
        self._marks = marks
        self._cursor = 0
        self._first = 0
        self._columns: tuple[int, ...] = ()
        # A list beside a line that is typed shows where it stands without having the focus.
        self.cursor_always = False

    # What it shows

    @property
    def rows(self) -> tuple[ListRow, ...]:
        """The rows, in order."""
        return self._rows

    @property
    def cursor_row(self) -> ListRow | None:
        """The row that the cursor stands on, or would."""
        return self._rows[self._cursor] if self._rows else None

    def set_rows(self, rows: Iterable[ListRow]) -> None:
        """The rows to show; the cursor stays on the row with its key while there is one."""
        new = tuple(rows)
        if new == self._rows:
            return
        key = self._rows[self._cursor].key if self._rows else None
        self._rows = new
        places = [index for index, row in enumerate(new) if row.key == key]
        self._cursor = places[0] if places else max(0, min(self._cursor, len(new) - 1))
        count = max((len(row.figures) for row in new if not row.reason), default=0)
        self._columns = tuple(
            max(
                (
                    cell_len(visible(row.figures[column]))
                    for row in new
                    if not row.reason and column < len(row.figures)
                ),
                default=0,
            )
            for column in range(count)
        )
        self._keep_in_view()
        self.content_changed()

    def set_empty(self, text: str) -> None:
        """What an empty list says."""
        if text != self._empty:
            self._empty = text
            self.content_changed()

    def select(self, key: str) -> bool:
        """Puts the cursor on the row with `key`; False where there is none."""
        for index, row in enumerate(self._rows):
            if row.key == key:
                self._move_to(index)
                return True
        return False

    # Drawing

    def content_line(self, y: int, width: int) -> Line:
        if not self._rows:
            lines = wrap_cells(visible(self._empty), max(1, width - 2))
            return [(f" {lines[y]}", "dim")] if y < len(lines) else ()
        index = y + self._first
        if index >= len(self._rows):
            return ()
        row = self._rows[index]
        line = self._row_line(row, width)
        if not ((self.has_focus or self.cursor_always) and index == self._cursor):
            return line
        # Reversed, so that it is seen without colours too, over the whole width.
        text = "".join(part for part, _ in line)
        return [
            (text + " " * (width - cell_len(text)), "dim reverse" if row.dim else "accent reverse")
        ]

    def _row_line(self, row: ListRow, width: int) -> list[Span]:
        role = "dim" if row.dim else "text"
        name = visible(row.text)
        line: list[Span] = [(" ", role)]
        if self._marks:
            mark = visible(row.mark)[:1] or " "
            line += [(mark, "dim" if row.dim else row.mark_role), (" ", role)]
        start = 3 if self._marks else 1
        reason = visible(row.reason)
        if row.dim and reason:
            room = max(0, width - start - 1)
            name = middle_cut(name, max(room // 3, room - cell_len(reason) - 2))
            left = room - cell_len(name) - 2
            return [*line, (name, role), ("  " + end_cut(reason, left), role)]
        figures = ""
        own = len(self._columns) - len(row.figures)
        for column, wide in enumerate(self._columns):
            # Rows with fewer figures have them in the last columns.
            text = visible(row.figures[column - own]) if column >= own else ""
            figures += ("   " if column else "") + " " * (wide - cell_len(text)) + text
        if not figures.strip():
            return [*line, (middle_cut(name, width - start - 1), role)]
        # Cells that the figures' columns leave blank on this row may be used by its name.
        shown = figures.lstrip(" ")
        room = max(0, width - start - cell_len(shown) - 3)
        name = middle_cut(name, room)
        gap = width - start - cell_len(name) - cell_len(shown) - 1
        return cut_line([*line, (name, role), (" " * gap, role), (shown, role)], width)

    # Moving

    def _keep_in_view(self) -> None:
        height = max(1, self.content_height)
        first = max(0, min(self._first, len(self._rows) - height))
        if self._cursor < first:
            first = self._cursor
        elif self._cursor >= first + height:
            first = self._cursor - height + 1
        self._first = first

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self._rows) - 1))
        if not self._rows or index == self._cursor:
            return
        self._cursor = index
        self._keep_in_view()
        self.content_changed()
        self.post_message(self.Highlighted(self, self._rows[index]))

    def action_move(self, by: int) -> None:
        self._move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        self._move_to(self._cursor + by * max(1, self.content_height - 1))

    def action_first(self) -> None:
        self._move_to(0)

    def action_last(self) -> None:
        self._move_to(len(self._rows) - 1)

    def action_choose(self) -> None:
        if self._rows:
            self.post_message(self.Chosen(self, self._rows[self._cursor]))

    def action_toggle_row(self) -> None:
        if self._rows:
            self.post_message(self.Toggled(self, self._rows[self._cursor]))

    def on_click(self, event: events.Click) -> None:
        index = event.y - self.content_top + self._first
        if not 0 <= event.y - self.content_top < self.content_height or index >= len(self._rows):
            return
        if index == self._cursor:
            self.action_choose()
        else:
            self._move_to(index)

    def on_mouse_scroll_down(self) -> None:
        self._move_to(self._cursor + 1)

    def on_mouse_scroll_up(self) -> None:
        self._move_to(self._cursor - 1)

    def on_resize(self) -> None:
        self._keep_in_view()
