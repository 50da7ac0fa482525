"""A stage for one widget, the drawn pictures, and what a widget refreshes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget

from tui.theme import current_theme, set_current_theme
from tui.widgets.ascii import set_ascii_only
from tui.widgets.frame import Framed
from tui.widgets.key_line import KeyLine
from tui.widgets.list_view import ListPanel

SCREEN = Path(__file__).parents[3].parent / "shared" / "SCREEN.md"


def _picture(name: str) -> list[str]:
    """The lines of one of SCREEN.md's pictures."""
    if not SCREEN.is_file():
        pytest.skip("the drawn pictures are not beside this checkout")
    part = SCREEN.read_text(encoding="utf-8").split(f"### {name}\n")[1]
    return part.split("```text\n")[1].split("\n```")[0].split("\n")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = current_theme()
    yield
    set_current_theme(before)
    set_ascii_only(False)


class _Stage(App[None]):
    """One widget, and another one that has the focus."""

    AUTO_FOCUS = "#other"

    CSS = "#other { width: 1; height: 1; dock: bottom; }"

    def __init__(self, widget: Widget, width: int, height: int) -> None:
        super().__init__()
        self.widget = widget
        widget.styles.width, widget.styles.height = width, height
        self.heard: list[object] = []

    def compose(self) -> ComposeResult:
        yield self.widget
        yield Framed(id="other")

    def on_list_panel_row_message(self, message: ListPanel.RowMessage) -> None:
        self.heard.append((type(message).__name__, message.row.key))

    on_list_panel_highlighted = on_list_panel_row_message
    on_list_panel_chosen = on_list_panel_row_message
    on_list_panel_toggled = on_list_panel_row_message

    def on_key_line_pressed(self, message: KeyLine.Pressed) -> None:
        self.heard.append(message.key)


def _shown(app: App[None]) -> list[str]:
    """What stands on the screen."""
    return [
        "".join(segment.text for segment in strip)
        for strip in app.screen._compositor.render_strips()
    ]


def _refreshes(widget: Widget, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Region, ...]]:
    """The regions of each refresh from here on; an empty tuple is a refresh of everything."""
    calls: list[tuple[Region, ...]] = []
    real: Callable[..., Widget] = widget.refresh

    def refresh(*regions: Region, **options: bool) -> Widget:
        calls.append(regions)
        return real(*regions, **options)

    monkeypatch.setattr(widget, "refresh", refresh)
    return calls


async def _settle(pilot: Pilot[None]) -> None:
    await pilot.pause()
    await pilot.pause()


@pytest.fixture
def stage() -> type[_Stage]:
    """An app with one widget of a given width and height: `stage(widget, width, height)`."""
    return _Stage


@pytest.fixture
def picture() -> Callable[[str], list[str]]:
    """The lines of a drawn picture by its heading."""
    return _picture


@pytest.fixture
def shown() -> Callable[[App[None]], list[str]]:
    """The lines on an app's screen."""
    return _shown


@pytest.fixture
def refreshes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Widget], list[tuple[Region, ...]]]:
    """The regions of each refresh of a widget from the call on."""
    return lambda widget: _refreshes(widget, monkeypatch)


@pytest.fixture
def settle() -> Callable[[Pilot[None]], Awaitable[None]]:
    """Waits until an app has drawn."""
    return _settle
