"""The base of the views on the right: one of them is shown at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.widget import Widget

from tui.shell import shell

if TYPE_CHECKING:
    from tui.studio import Studio
    from tui.widgets.frame import Line


class View(Vertical):
    """A view over the studio. `show` draws what is new; it is called only while it is visible.

    `home` names the rail panel whose detail it is, empty for the four working views.
    """

    DEFAULT_CSS = "View { width: 1fr; height: 1fr; }"
    home = ""
    scope = ""

    def __init__(self, studio: Studio, *, id: str) -> None:
        super().__init__(id=id)
        self.studio = studio

    def on_resize(self) -> None:
        # What is broken into lines goes by the width that the panels have now.
        shell(self).show()

    def show(self) -> None:
        """Draw what changed since the last call."""
        raise NotImplementedError

    def entry(self) -> Widget:
        """The widget that takes the focus when the view is stepped into."""
        raise NotImplementedError

    def begin_search(self) -> None:
        """Ask for what is to be looked for; called for views whose rail panel offers `/` only."""
        raise NotImplementedError

    def step_back(self) -> bool:
        """Step out of something within the view (a filter); False where there is nothing."""
        return False

    def explained(self) -> list[Line]:
        """What is shown, in words: it stands above the keys when a person asks for help."""
        return []

    def idle(self) -> frozenset[str]:
        """Its actions that would do nothing now: the bottom line leaves them out."""
        return frozenset()

    def fit(self, narrow: bool, wide: bool) -> None:
        """The screen's size class changed: narrow is under 100 columns or 30 rows, wide from 160
        columns on."""

    def relabel(self) -> None:
        """The language changed: texts that were set once are set again."""
