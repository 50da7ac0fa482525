"""A list to pick from, narrowed by typing: commands, checkpoints, models, presets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical

from tui.dialogs.typed_list import TypedList
from tui.language import _
from tui.widgets.frame import Drawn, Line, cut_line
from tui.widgets.list_view import ListPanel, ListRow
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from textual.widgets import Input

WIDE_CELLS = 124


class Detail(Drawn):
    """What the highlighted row is; as many lines as the longest of `texts` takes, up to six. With
    `lines` there are so many, whatever the texts take (hundreds of them need not be measured)."""

    DEFAULT_CSS = "Detail { height: 3; width: 1fr; }"

    def __init__(self, texts: Iterable[str], lines: int = 0) -> None:
        super().__init__()
        self._texts = tuple(texts) if not lines else ()
        self._fixed = lines
        self.text = ""

    def _lines(self, text: str, width: int) -> list[str]:
        return wrap_cells(visible(text), max(1, width - 2)) if text else []

    def on_resize(self) -> None:
        longest = max((len(self._lines(text, self.size.width)) for text in self._texts), default=0)
        self.styles.height = self._fixed or max(1, min(6, longest))

    def draw_line(self, y: int, width: int, height: int) -> Line:
        lines = self._lines(self.text, width)
        return cut_line([(" " + lines[y], "dim")], width) if y < len(lines) else ()


class Pick(TypedList):
    """The result is the key of the row chosen, or None. Typing narrows the list; `details` maps a
    row's key to what is said of it below the list, in `detail_lines` lines where that is given.
    `words` maps a key to further words that find the row, in lower case. A `wide` list takes more
    of a wide screen, and a `counted` one says how many rows there are."""

    DEFAULT_CSS = "Pick ListPanel { height: 10; }"

    def __init__(
        self,
        title: str,
        rows: Sequence[ListRow],
        *,
        details: dict[str, str] | None = None,
        detail_lines: int = 0,
        words: dict[str, str] | None = None,
        selected: str = "",
        empty: str = "",
        wide: bool = False,
        counted: bool = False,
    ) -> None:
        super().__init__()
        self._pick_title = title
        self._all = tuple(rows)
        self._details = details or {}
        self._detail_lines = detail_lines
        more = words or {}
        self._words = {row.key: _searchable(row) + " " + more.get(row.key, "") for row in self._all}
        self._wide = wide
        self._counted = counted
        self._selected = selected
        self._empty = empty

    def compose(self) -> ComposeResult:
        from textual.widgets import Input

        with Vertical():
            yield self.list_panel(self._pick_title, self._empty or _("Nothing matches."))
            if self._details:
                yield Detail(self._details.values(), self._detail_lines)
            yield Input(placeholder=_("type to narrow the list"), compact=True)

    def on_mount(self) -> None:
        panel = self.query_one(ListPanel)
        self._fit()
        self._fill(panel, self._all)
        panel.select(self._selected)
        self._say()
        self.query_one("Input").focus()

    def _fit(self) -> None:
        """The list leaves room for what stands below it, the line that is typed in last."""
        size = self.app.size
        spare = 3 + (self._detail_lines or 6) if self._details else 4
        if self._wide:
            self.query_one(Vertical).styles.width = min(WIDE_CELLS, max(84, size.width - 8))
        height = max(4, min(len(self._all) + 2, size.height - spare))
        self.query_one(ListPanel).styles.height = height

    def _say(self) -> None:
        if not self._details:
            return
        row = self.query_one(ListPanel).cursor_row
        detail = self.query_one(Detail)
        detail.text = self._details.get(row.key, "") if row else ""
        detail.picture_changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        words = event.value.lower().split()
        panel = self.query_one(ListPanel)
        found = [row for row in self._all if all(word in self._words[row.key] for word in words)]
        self._fill(panel, found)
        self._say()

    def _fill(self, panel: ListPanel, rows: Sequence[ListRow]) -> None:
        panel.set_rows(rows)
        if self._counted:
            panel.set_figure(f"{len(rows)} {_('of')} {len(self._all)}")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._take()

    def on_list_panel_chosen(self, event: ListPanel.Chosen) -> None:
        event.stop()
        self._take()

    def on_list_panel_highlighted(self, event: ListPanel.Highlighted) -> None:
        event.stop()
        self._say()

    def _take(self) -> None:
        row = self.query_one(ListPanel).cursor_row
        if row is not None and not row.dim:
            self.dismiss(row.key)

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.dismiss(None)


def _searchable(row: ListRow) -> str:
    return f"{row.text} {' '.join(row.figures)} {row.key}".lower()
