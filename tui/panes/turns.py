"""The turns of a conversation as the chat shows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.events import AnswerEnded
from tui.language import _
from tui.widgets.frame import Line
from tui.widgets.text_safe import visible, wrap_cells

CURSOR = "▍"


@dataclass
class Turn:
    """One turn of the transcript; `name` is the speaker's, `note` tells how an answer went, `open`
    that it still grows; `files` go with it, by their field of a message."""

    role: str
    text: str
    name: str = ""
    note: str = ""
    open: bool = False
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _kept: tuple[tuple[str, bool, int], list[Line]] | None = None

    def lines(self, width: int) -> list[Line]:
        """Its text, broken to `width` cells. Kept: every piece of an answer draws the whole
        conversation again, and to break its lines is what that costs."""
        key = (self.text, self.open, width)
        if self._kept is None or self._kept[0] != key:
            text = visible(self.text, keep_newlines=True) + (CURSOR if self.open else "")
            self._kept = key, [[("  " + part, "text")] for part in wrap_cells(text, width - 2)]
        return self._kept[1]


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
