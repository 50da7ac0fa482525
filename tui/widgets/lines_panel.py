"""A panel of given lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from tui.widgets.frame import Framed, Line, Span, cut_line
from tui.widgets.text_safe import wrap_spans

LEAST_WIDTH = 20


class LinesPanel(Framed):
    """A panel that shows given lines, scrolled where they are more than fit (model card, help)."""

    BINDINGS: ClassVar = [
        ("up", "scroll_lines(-1)", "Up"),
        ("down", "scroll_lines(1)", "Down"),
        ("pageup", "scroll_pages(-1)", "Page up"),
        ("pagedown", "scroll_pages(1)", "Page down"),
    ]

    def __init__(self, title: str | Line = "", figure: str | Line = "", **options: object) -> None:
        super().__init__(title, figure, **options)  # type: ignore[arg-type]
        self._lines: tuple[tuple[Span, ...], ...] = ()
        # What `set_wrapped` was given, and the width that it is broken to.
        self._whole: tuple[tuple[Span, ...], ...] | None = None
        self._broken_to = 0
        self._first = 0

    def set_lines(self, lines: Iterable[Line | str]) -> None:
        """The lines to show, as text or spans; each is drawn one cell from the frame."""
        self._whole = None
        new = tuple(((line, "text"),) if isinstance(line, str) else tuple(line) for line in lines)
        if new != self._lines:
            self._lines = new
            self._first = self._within(self._first)
            self.scrolled()

    def set_wrapped(self, lines: Iterable[Line]) -> None:
        """The lines to show, broken to the panel's width when it is drawn: a first frame is drawn
        before its width can be asked for."""
        new = tuple(map(tuple, lines))
        if new != self._whole or self.content_width != self._broken_to:
            self._whole, self._broken_to = new, 0
            self._break(self.content_width)
            self.scrolled()

    def _break(self, width: int) -> None:
        if self._whole is None or width == self._broken_to:
            return
        self._broken_to = width
        room = max(LEAST_WIDTH, width - 2)
        self._lines = tuple(tuple(part) for line in self._whole for part in wrap_spans(line, room))
        self._first = self._within(self._first)

    def _within(self, first: int) -> int:
        """The nearest first line that leaves no room below the last."""
        return max(0, min(first, len(self._lines) - self.content_height))

    @property
    def line_count(self) -> int:
        """How many lines there are, as they are broken."""
        return len(self._lines)

    @property
    def at_end(self) -> bool:
        """Whether the last line is in view."""
        return self._first >= len(self._lines) - self.content_height

    def to_top(self) -> None:
        """Scrolls to the first line."""
        self.action_scroll_lines(-len(self._lines))

    def to_end(self) -> None:
        """Scrolls to the last line."""
        self.action_scroll_lines(len(self._lines))

    def content_line(self, y: int, width: int) -> Line:
        self._break(width)
        index = y + self._first
        if index >= len(self._lines):
            return ()
        return [(" ", "text"), *cut_line(self._lines[index], width - 2)]

    def action_scroll_lines(self, by: int) -> None:
        first = self._within(self._first + by)
        if first != self._first:
            self._first = first
            self.scrolled()

    def action_scroll_pages(self, by: int) -> None:
        self.action_scroll_lines(by * max(1, self.content_height - 1))

    def beyond(self) -> str:
        below = self._first < len(self._lines) - self.content_height
        return ("↑" if self._first else "") + ("↓" if below else "")

    def scrolled(self) -> None:
        """To be called when the lines or the place among them changed."""
        self.content_changed()
        if self.border == "box":
            self.picture_changed((self.size.height - 1,))

    def on_mouse_scroll_down(self) -> None:
        self.action_scroll_lines(1)

    def on_mouse_scroll_up(self) -> None:
        self.action_scroll_lines(-1)
