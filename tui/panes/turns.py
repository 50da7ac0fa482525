"""The turns of a conversation as the chat shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from engine.events import AnswerEnded
from tui.language import _
from tui.widgets.frame import Line, Span, cut_line, line_width
from tui.widgets.text_safe import visible, wrap_cells

CURSOR = "▍"
# Long lines read badly: on a wide screen an answer keeps to the width of a page.
PAGE = 100
# Two answers stand beside each other where each has so many cells, else one below the other.
LEAST_COLUMN = 30
GAP = 2


@dataclass
class Turn:
    """One turn of the transcript; `name` is the speaker's, `note` tells how an answer went, `open`
    that it still grows; `files` go with it, by their field of a message. `base` is what the model
    answered before it was trained, in a conversation of its own."""

    role: str
    text: str
    name: str = ""
    note: str = ""
    open: bool = False
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    base: Turn | None = None
    _kept: tuple[tuple[str, bool, int], list[Line]] | None = None

    def lines(self, width: int) -> list[Line]:
        """Its text, broken to `width` cells. Kept: every piece of an answer draws the whole
        conversation again, and to break its lines is what that costs."""
        key = (self.text, self.open, width)
        if self._kept is None or self._kept[0] != key:
            text = visible(self.text, keep_newlines=True) + (CURSOR if self.open else "")
            self._kept = key, [[("  " + part, "text")] for part in wrap_cells(text, width - 2)]
        return self._kept[1]


def turn_lines(turn: Turn, width: int, waits: str = "") -> list[Line]:
    """A turn in `width` cells with the speaker above it, and the base's answer beside it where
    there is one; `waits` tells why an answer has not begun."""
    if turn.base is None:
        return _column(turn, min(width, PAGE), waits)
    each = (width - GAP) // 2
    if each < LEAST_COLUMN:
        return [*_column(turn, width, waits), *_column(turn.base, width)]
    each = min(each, PAGE)
    lines: list[Line] = []
    columns = _column(turn, each, waits)[:-1], _column(turn.base, each)[:-1]
    for left, right in zip_longest(*columns, fillvalue=()):
        start: list[Span] = cut_line(left, each)
        lines.append([*start, (" " * (each + GAP - line_width(start)), "text"), *right])
    return [*lines, []]


def _column(turn: Turn, width: int, waits: str = "") -> list[Line]:
    name = _("you") if turn.role == "user" else turn.name
    lines: list[Line] = [cut_line([(name, turn.role)], width)]
    for one in (one for files in turn.files.values() for one in files):
        lines.append([(f"  [{Path(one).name}]", "dim")])
    lines += turn.lines(width)
    note = turn.note or waits
    if note:
        lines += [[], *([("  " + part, "dim")] for part in wrap_cells(note, width - 2))]
    return [*lines, []]


def how_it_went(event: AnswerEnded) -> str:
    """`31 tokens · 24.8 tok/s · first after 0.14 s`, and what ended it early."""
    speed = event.tokens / event.seconds if event.seconds > 0 else 0.0
    note = (
        f"{event.tokens} {_('tokens')} · {speed:.1f} tok/s · "
        f"{_('first after')} {event.first_token_seconds:.2f} s"
    )
    if event.reason == "stopped":
        note += f" · {_('stopped')}"
    elif event.reason == "length":
        note += f" · {_('cut at the token limit')}"
    return note
