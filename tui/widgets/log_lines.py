"""The log panel: the newest line first, the older ones below, a bounded number of them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding

from tui.widgets.frame import Framed, Line
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible, wrap_cells

_ROLES = {"warning": "warning", "error": "error", "ok": "ok", "debug": "dim", "note": "text"}


@dataclass(frozen=True)
class LogLine:
    """One line: the time as text (`14:06:31`), its level (debug, info, ok, warning, error), what it
    says."""

    time: str
    level: str
    text: str


def lines_figure(count: int) -> str:
    """`48 lines`."""
    return f"{thousands(count)} line{'' if count == 1 else 's'}" if count else ""


class LogPanel(Framed):
    """Log lines, newest first. While it is scrolled away from the newest, it stays at what is being
    read when others arrive."""

    BINDINGS: ClassVar = [
        Binding("up", "scroll_log(-1)", "newer", show=False, id="log.newer"),
        Binding("down", "scroll_log(1)", "older", show=False, id="log.older"),
        Binding("pageup", "page_log(-1)", "page newer", show=False, id="log.page_newer"),
        Binding("pagedown", "page_log(1)", "page older", show=False, id="log.page_older"),
        Binding("home", "newest_log", "newest", show=False, id="log.newest"),
        Binding("end", "oldest_log", "oldest", show=False, id="log.oldest"),
    ]

    def __init__(
        self,
        title: str | Line = "log",
        *,
        limit: int = 2000,
        figure: Callable[[int], str] = lines_figure,
        **options: object,
    ) -> None:
        super().__init__(title, **options)  # type: ignore[arg-type]
        self._kept: deque[LogLine] = deque(maxlen=limit)
        self._count_text = figure
        self._first = 0
        self._wrapped: tuple[int, list[Line]] = (0, [])

    def add(self, lines: Iterable[LogLine]) -> None:
        """Adds lines, the oldest of them first."""
        new = list(lines)
        if not new:
            return
        self._kept.extendleft(new)
        if self._first:
            self._first += len(new)
        self._shown_again()

    def set_lines(self, lines: Iterable[LogLine]) -> None:
        """Shows these lines instead, the oldest of them first."""
        self._kept.clear()
        self._kept.extendleft(lines)
        self._first = 0
        self._shown_again()

    def _shown_again(self) -> None:
        self._first = max(0, min(self._first, len(self._kept) - 1))
        self._wrapped = (0, [])
        self._figure = self._count_text(len(self._kept))
        self.picture_changed()

    def content_line(self, y: int, width: int) -> Line:
        if self._wrapped[0] != width:
            self._wrapped = (width, self._wrap(width))
        lines = self._wrapped[1]
        return lines[y] if y < len(lines) else ()

    def _wrap(self, width: int) -> list[Line]:
        """The lines in view, from the one scrolled to; what is long goes on below its text."""
        lines: list[Line] = []
        for line in itertools.islice(self._kept, self._first, None):
            lines += _wrapped(line, width)
            if len(lines) >= self.content_height:
                break
        return lines

    def _last_first(self) -> int:
        """The line to scroll to so that the oldest one is just in view."""
        height = self.content_height
        index = len(self._kept)
        while index > 0:
            height -= len(_wrapped(self._kept[index - 1], self.content_width))
            if height < 0:
                break
            index -= 1
        return min(index, max(0, len(self._kept) - 1))

    def _scroll_by(self, by: int) -> None:
        first = max(0, min(self._first + by, self._last_first()))
        if first != self._first:
            self._first = first
            self._wrapped = (0, [])
            self.content_changed()

    def on_resize(self) -> None:
        self._wrapped = (0, [])

    def action_scroll_log(self, by: int) -> None:
        self._scroll_by(by)

    def action_page_log(self, by: int) -> None:
        self._scroll_by(by * max(1, self.content_height - 1))

    def action_newest_log(self) -> None:
        self._scroll_by(-len(self._kept))

    def action_oldest_log(self) -> None:
        self._scroll_by(len(self._kept))

    def on_mouse_scroll_down(self) -> None:
        self._scroll_by(1)

    def on_mouse_scroll_up(self) -> None:
        self._scroll_by(-1)


def _wrapped(line: LogLine, width: int) -> list[Line]:
    """One log line, what is too long going on below its text."""
    role = _ROLES.get(line.level, "text")
    head = f" {line.time}  " if line.time else " "
    parts = wrap_cells(visible(line.text), max(10, width - len(head) - 1)) or [""]
    rest: list[Line] = [[(" " * len(head), "dim"), (part, role)] for part in parts[1:]]
    return [[(head, "dim"), (parts[0], role)], *rest]
