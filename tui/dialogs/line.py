"""One line to type: a row number, a search text, a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from tui.dialogs.dialog import Dialog
from tui.language import _
from tui.widgets.frame import Framed, Line
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from textual.widgets import Input


class LineFrame(Framed, can_focus=False):
    """The frame round the line, with a note or the fault below it."""

    DEFAULT_CSS = """
    LineFrame { width: 72; max-width: 100%; height: 5; layout: vertical; }
    LineFrame > Input {
        position: absolute; offset: 2 1; width: 1fr; margin: 0 3 0 0; height: 1; border: none;
        padding: 0; background: ansi_default;
    }
    """

    note = ""
    fault = ""

    def say(self, fault: str = "") -> None:
        """Show the fault, or the note where there is none, in as many lines as it takes."""
        self.fault = fault
        self.styles.height = 4 + len(self._told())
        self.content_changed()

    def on_resize(self) -> None:
        self.say(self.fault)

    def _told(self) -> list[str]:
        width = (self.size.width or 72) - 4
        return wrap_cells(visible(self.fault or self.note), width)[:6] or [""]

    def content_line(self, y: int, width: int) -> Line:
        told = self._told()
        if 1 <= y <= len(told):
            return [(f" {told[y - 1]}", "error" if self.fault else "dim")]
        if y == len(told) + 1:
            return [(f" Enter {_('ok')}   Esc {_('close')}", "dim")]
        return ()


class AskLine(Dialog[str | None]):
    """Asks for one line of text; the result is None where Esc was pressed. `check` gives a sentence
    where the text can't be taken, and the line stays open."""

    DEFAULT_CSS = "AskLine { align: center middle; background: transparent; }"
    BINDINGS: ClassVar = [Binding("escape", "leave", "close", show=False)]

    def __init__(
        self,
        title: str,
        value: str = "",
        note: str = "",
        check: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__()
        self._ask_title = title
        self._value = value
        self._note = note
        self._check = check

    def compose(self) -> ComposeResult:
        from textual.widgets import Input

        frame = LineFrame(self._ask_title)
        frame.active = True
        frame.note = self._note
        with frame:
            yield Input(self._value, compact=True)

    def on_mount(self) -> None:
        self.query_one("Input").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        fault = self._check(event.value) if self._check else ""
        if fault:
            self.query_one(LineFrame).say(fault)
        else:
            self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)
