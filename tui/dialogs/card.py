"""A card over the screen: a title, lines to read, keys to press."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding

from tui.dialogs.dialog import Dialog
from tui.language import _
from tui.widgets.frame import Line, line_width
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.text_safe import visible, wrap_cells


class CardPanel(LinesPanel):
    """The lines of a card."""


class Card(Dialog[str]):
    """Shows lines until a key dismisses it; the result is the key of `keys` that was pressed, or an
    empty text. `keys` maps a key to its words in the last line; `escape` are those of Esc."""

    DEFAULT_CSS = """
    Card { align: center middle; background: transparent; }
    Card > CardPanel { width: 80; height: 12; max-width: 100%; max-height: 100%; }
    """

    BINDINGS: ClassVar = [Binding("escape", "leave", "close", show=False)]

    def __init__(
        self,
        title: str,
        lines: Sequence[Line | str],
        keys: dict[str, str] | None = None,
        *,
        role: str = "accent",
        wide: bool = False,
        escape: str = "",
    ) -> None:
        super().__init__()
        self._escape = escape or _("close")
        self._card_title = title
        self._card_lines = list(lines)
        self._keys = keys or {}
        self._role = role
        self._wide = wide

    def compose(self) -> ComposeResult:
        panel = CardPanel([(self._card_title, f"{self._role} bold")])
        panel.active = True
        yield panel

    def on_mount(self) -> None:
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        panel = self.query_one(CardPanel)
        width = min(self.app.size.width - 4, 100 if self._wide else 76)
        lines = wrapped(self._card_lines, width - 4)
        words = [f"{key}  {text}" for key, text in self._keys.items()]
        words.append("Esc  " + self._escape)
        lines += [(), [("   ".join(words), "dim")]]
        longest = max(line_width(line) for line in lines)
        longest = max(longest, line_width([(visible(self._card_title), "text")]) + 4)
        panel.styles.width = max(40, min(width, longest + 4))
        panel.styles.height = min(len(lines) + 2, self.app.size.height)
        panel.set_lines(lines)

    def on_key(self, event: events.Key) -> None:
        pressed = event.character or event.key
        if pressed in self._keys:
            event.stop()
            self.dismiss(pressed)
        elif event.key == "enter":
            event.stop()
            self.dismiss("")

    def action_leave(self) -> None:
        self.dismiss("")


def wrapped(lines: Sequence[Line | str], width: int) -> list[Line]:
    """Lines with those of one span wrapped to `width` cells; composed ones are left as they are."""
    result: list[Line] = []
    for line in lines:
        if isinstance(line, str):
            line = [(line, "text")]
        if len(line) == 1 and line_width(line) > width:
            text, role = line[0]
            result += [[(part, role)] for part in wrap_cells(visible(text), width)]
        else:
            result.append(line)
    return result
