"""A list with a line below it that is typed into, over the screen; the keys move in the list."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding
from textual.containers import Vertical

from tui.dialogs.dialog import Dialog
from tui.language import _
from tui.widgets.key_line import KeyHint
from tui.widgets.list_view import ListPanel


class TypedList(Dialog[str | None]):
    """What dialogs share whose `Input` keeps the keyboard while the arrows walk the list above it.

    Its result is None where Esc was pressed.
    """

    DEFAULT_CSS = """
    TypedList { align: center middle; background: transparent; }
    TypedList > Vertical {
        width: 86; max-width: 100%; height: auto; max-height: 100%; background: ansi_default;
    }
    TypedList Input {
        height: 1; border: none; padding: 0 1; background: ansi_default; width: 1fr;
    }
    """
    BINDINGS: ClassVar = [
        Binding("escape", "leave", "close", show=False),
        Binding("down", "move(1)", "down", show=False, priority=True),
        Binding("up", "move(-1)", "up", show=False, priority=True),
        Binding("pagedown", "page(1)", "page down", show=False, priority=True),
        Binding("pageup", "page(-1)", "page up", show=False, priority=True),
    ]

    def hints(self) -> list[KeyHint]:
        return [
            KeyHint("↑↓", _("choose")),
            KeyHint("Enter", _("ok")),
            KeyHint("Esc", _("close")),
        ]

    def _fit(self) -> None:
        """Give the list its height on a screen of this size."""
        raise NotImplementedError

    def on_resize(self) -> None:
        self._fit()
        # A gap to what is seen on either side, where something is.
        inner = self.query_one(Vertical)
        beside = inner.styles.width is not None and self.app.size.width > inner.styles.width.value
        inner.styles.padding = (0, 1) if beside else 0

    @staticmethod
    def list_panel(title: str, empty: str) -> ListPanel:
        """The list: it shows its cursor though the line below it has the keyboard."""
        panel = ListPanel(title, empty=empty)
        panel.can_focus = False
        panel.active = True
        panel.cursor_always = True
        return panel

    def action_move(self, by: int) -> None:
        self.query_one(ListPanel).action_move(by)

    def action_page(self, by: int) -> None:
        self.query_one(ListPanel).action_page(by)

    def action_leave(self) -> None:
        self.dismiss(None)
