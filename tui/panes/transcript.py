"""Where a conversation is read, and the frame round the line that goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tui.actions import bindings
from tui.widgets.frame import Framed, Line
from tui.widgets.lines_panel import LinesPanel

if TYPE_CHECKING:
    from tui.panes.chat import ChatView


class Transcript(LinesPanel):
    """What was said, the newest at the bottom."""

    scope = "chat"
    BINDINGS: ClassVar = bindings("chat")

    def __init__(self, chat: ChatView) -> None:
        super().__init__("")
        self.chat = chat

    def action_write(self) -> None:
        self.chat.write()

    def action_stop_answer(self) -> None:
        self.chat.stop_answer()

    def action_regenerate(self) -> None:
        self.chat.regenerate()

    def action_beside(self) -> None:
        self.chat.put_base_beside()

    def action_pick(self) -> None:
        self.chat.pick_source()

    def action_sampling(self) -> None:
        self.chat.open_sampling()

    def action_new(self) -> None:
        self.chat.start_anew()


class MessageBox(Framed, can_focus=False):
    """The frame round the line that is typed."""

    scope = "message"
    DEFAULT_CSS = """
    MessageBox { height: 5; layout: vertical; }
    MessageBox > TextArea {
        position: absolute; offset: 4 1; width: 1fr; height: 3; margin: 0 5 0 0; border: none;
        padding: 0; background: ansi_default;
    }
    MessageBox.narrow { height: 3; }
    MessageBox.narrow > TextArea { height: 1; }
    """

    def content_line(self, y: int, width: int) -> Line:
        return [(" >", "accent")] if y == 0 else ()

    def on_descendant_focus(self) -> None:
        self.active = True

    def on_descendant_blur(self) -> None:
        self.active = False
