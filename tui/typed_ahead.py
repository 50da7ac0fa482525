"""One key after another: what is typed ahead acts on what the keys before it brought up.

A slow line delivers several keys at once. Textual hands each to the widget that has the focus when
the key is read, before the ones ahead of it have acted: in `:exp` the letters would act on what
lies below the list of commands, or nowhere.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Any

from textual import events
from textual.dom import DOMNode

from tui.dialogs.dialog import Dialog
from tui.shell import Shell

# A key that is not done by then no longer holds up the next.
_LONGEST_SECONDS = 1.0
# A key climbs from the focused widget to the app; what its action told the widgets climbs after it.
_CLIMBS = 2


class TypedAhead(Shell):
    """Mixed into the app."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._typed: deque[events.Key | events.Paste] = deque()
        self._number = 0
        self._since: float | None = None
        self._opening = False

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, (events.Key, events.Paste)) or event.is_forwarded:
            await super().on_event(event)
            return
        self._typed.append(event)
        if self._since is None or time.monotonic() - self._since > _LONGEST_SECONDS:
            await self._next()

    async def _next(self) -> None:
        """Hand on the first key that waits, and follow it until it has acted."""
        event = self._typed.popleft()
        self._number += 1
        self._since = time.monotonic()
        self._opening = False
        begin = self.focused or self.screen
        await super().on_event(event)
        self._after(begin, partial(self._climbed, begin, self._number, _CLIMBS))

    def _after(self, node: DOMNode, then: partial[None]) -> None:
        """Call `then` once all that stands in the queues from here up to the app now is done."""
        above = node.parent
        go_on = partial(self._after, above, then) if above is not None else then
        if not node.call_later(go_on):  # it is closing: nothing waits there
            go_on()

    def _climbed(self, begin: DOMNode, number: int, left: int) -> None:
        if left > 1:
            self._after(begin, partial(self._climbed, begin, number, left - 1))
        else:
            self.call_later(self._acted, number)  # a wish for the focus goes before it

    async def _acted(self, number: int) -> None:
        if number != self._number:
            return
        self._opening = isinstance(self.screen, Dialog) and not self.screen.ready
        if not self._opening:
            self._since = None
            if self._typed:
                await self._next()

    async def dialog_ready(self) -> None:
        """A dialog takes keys now; those that were held back for it go on, where it wants them."""
        if isinstance(self.screen, Dialog) and not self.screen.typed_ahead:
            self._typed.clear()
        if self._opening:
            await self._acted(self._number)
