"""The bottom line: the keys of what is focused, the most used first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.message import Message

from tui.widgets.frame import Drawn, Line, Span
from tui.widgets.text_safe import visible


@dataclass(frozen=True)
class KeyHint:
    """A key as it is written (`s`, `↑↓`), what it does, and `press`: the key that a click on it
    stands for (as Textual names it), if one does."""

    key: str
    text: str
    press: str = ""


def fitting(
    groups: Sequence[Sequence[KeyHint]], tail: Sequence[KeyHint], width: int
) -> list[tuple[str, KeyHint]]:
    """The hints that fit into `width` cells, each with the gap before it: two cells inside a group,
    four between groups, where there is room, else two. The last hints are left out first; the
    tail stays as long as there is room for it."""
    hints = [(hint, group) for group, part in enumerate(groups) for hint in part]
    kept_tail = list(tail)
    for wide in (True, False):
        placed = _placed(hints, kept_tail, wide)
        if _width(placed) <= width:
            return placed
    while hints:
        hints.pop()
        placed = _placed(hints, kept_tail, False)
        if _width(placed) <= width:
            wider = _placed(hints, kept_tail, True)
            return wider if _width(wider) <= width else placed
    while kept_tail and _width(_placed([], kept_tail, False)) > width:
        kept_tail.pop()
    return _placed([], kept_tail, False)


def _placed(
    hints: Sequence[tuple[KeyHint, int]], tail: Sequence[KeyHint], wide: bool
) -> list[tuple[str, KeyHint]]:
    between = "    " if wide else "  "
    placed: list[tuple[str, KeyHint]] = []
    last = None
    for hint, group in hints:
        gap = " " if last is None else "  " if group == last else between
        placed.append((gap, hint))
        last = group
    for index, hint in enumerate(tail):
        placed.append((" " if not placed else "  " if index else between, hint))
    return placed


def _hint_width(hint: KeyHint) -> int:
    return cell_len(visible(hint.key)) + 1 + cell_len(visible(hint.text))


def _width(placed: Sequence[tuple[str, KeyHint]]) -> int:
    return sum(len(gap) + _hint_width(hint) for gap, hint in placed)


class KeyLine(Drawn):
    """The keys of what is focused. A click on one is a press of it (message `Pressed`)."""

    DEFAULT_CSS = "KeyLine { width: 1fr; height: 1; }"

    class Pressed(Message):
        """A hint was clicked; `key` as Textual names it."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(
        self,
        tail: Sequence[KeyHint] = (
            KeyHint("?", "keys", "question_mark"),
            KeyHint(":", "commands", "colon"),
        ),
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._groups: tuple[tuple[KeyHint, ...], ...] = ()
        self._tail = tuple(tail)

    def set_tail(self, tail: Sequence[KeyHint]) -> None:
        """The keys at the line's end."""
        if tuple(tail) != self._tail:
            self._tail = tuple(tail)
            self.picture_changed()

    def set_keys(self, *groups: Sequence[KeyHint]) -> None:
        """The keys to show, in groups, the most used first."""
        new = tuple(tuple(group) for group in groups if group)
        if new != self._groups:
            self._groups = new
            self.picture_changed()

    def draw_line(self, y: int, width: int, height: int) -> Line:
        if y:
            return ()
        line: list[Span] = []
        for gap, hint in fitting(self._groups, self._tail, width):
            line += [(gap, "text"), (hint.key, "accent"), (f" {hint.text}", "dim")]
        return line

    def on_click(self, event: events.Click) -> None:
        column = 0
        for gap, hint in fitting(self._groups, self._tail, self.size.width):
            column += len(gap)
            end = column + _hint_width(hint)
            if column <= event.x < end and hint.press:
                self.post_message(self.Pressed(hint.press))
            column = end
