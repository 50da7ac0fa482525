"""The tab line of a narrow screen: the rail's panels in its left half, the views in its right."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.message import Message

from tui.widgets.frame import Drawn, Line, Span
from tui.widgets.numbers import end_cut


class TabLine(Drawn):
    """Names of places; the one that is open stands between half blocks, reversed."""

    DEFAULT_CSS = "TabLine { width: 1fr; height: 1; }"

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left: tuple[tuple[str, str], ...] = ()
        self._right: tuple[tuple[str, str], ...] = ()
        self._open = ""
        self._spans: list[tuple[int, int, str]] = []

    def set_tabs(self, left: Sequence[tuple[str, str]], right: Sequence[tuple[str, str]]) -> None:
        """(key, words) of each tab."""
        if (tuple(left), tuple(right)) != (self._left, self._right):
            self._left, self._right = tuple(left), tuple(right)
            self.picture_changed()

    def open(self, key: str) -> None:
        """Marks the tab of the place that is shown."""
        if key != self._open:
            self._open = key
            self.picture_changed()

    def draw_line(self, y: int, width: int, height: int) -> Line:
        if y:
            return ()
        line: list[Span] = []
        self._spans = []
        column = 0
        for half, tabs in enumerate((self._left, self._right)):
            if half:
                line.append(("│ ", "dim"))
                column += 2
            for key, words in tabs:
                words = end_cut(words, max(3, width - column - 2))
                if key == self._open:
                    line += [("▐", "accent"), (words, "accent bold reverse"), ("▌", "accent")]
                else:
                    line += [(" ", "text"), (words, "text"), (" ", "text")]
                size = cell_len(words) + 2
                self._spans.append((column, column + size, key))
                column += size
        return line

    def on_click(self, event: events.Click) -> None:
        for start, end, key in self._spans:
            if start <= event.x < end:
                self.post_message(self.Chosen(key))
