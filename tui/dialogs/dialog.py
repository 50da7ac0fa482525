"""What all that opens over the screen shares: it closes once."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

from tui.shell import shell
from tui.widgets.key_line import KeyHint

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """A dialog. A key pressed twice, or one that a slow line brings late, may come after the key
    that closed it: Textual would then close what lies below, and without anything there end.

    `ready` once it takes keys: what is typed ahead waits for that, or with `typed_ahead` False is
    dropped."""

    ready = False
    typed_ahead = True

    def hints(self) -> list[KeyHint]:
        """Its keys for the bottom line; none where the dialog itself tells them."""
        return []

    def on_mount(self) -> None:
        shell(self).show()  # the keys of what lies below act no more
        self.app.call_later(self._take_keys)  # the focus it asked for goes before

    async def _take_keys(self) -> None:
        self.ready = True
        await shell(self).dialog_ready()

    def on_unmount(self) -> None:
        shell(self).show()

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        if not self.is_active:
            return AwaitComplete()
        return super().dismiss(result)
