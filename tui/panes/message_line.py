"""The message that is being typed: Enter sends, Ctrl+J begins a new line, Esc leaves."""

from __future__ import annotations

from textual import events
from textual.widgets import TextArea

from tui.actions import BY_ID
from tui.keys import Keys


class MessageLine(TextArea):
    """A text area without decoration; pasted lines stay lines."""

    scope = "message"

    def __init__(self) -> None:
        super().__init__(compact=True, show_line_numbers=False, soft_wrap=True)
        self.cursor_blink = False

    async def _on_key(self, event: events.Key) -> None:
        view = self.parent
        while view is not None and not hasattr(view, "send"):
            view = view.parent
        keys: Keys = self.app.keys  # type: ignore[attr-defined]
        if event.key in keys.of(BY_ID["message.send"]) and view is not None:
            event.stop()
            event.prevent_default()
            if view.send(self.text):
                self.text = ""
            return
        if event.key in keys.of(BY_ID["message.line"]):
            event.stop()
            event.prevent_default()
            self.insert("\n")
            return
        if event.key in keys.of(BY_ID["message.leave"]) and view is not None:
            event.stop()
            event.prevent_default()
            view.transcript.focus()  # type: ignore[attr-defined]
            return
        await super()._on_key(event)
