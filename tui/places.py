"""Where a person is on the screen: a rail panel or a view, and the ways between them."""

from __future__ import annotations

from textual import events
from textual.geometry import Size
from textual.widget import Widget

from tui.language import _
from tui.panes.rail import RAIL_NAMES
from tui.panes.rail_panels import StepIn
from tui.panes.view import View
from tui.shell import Shell
from tui.studio import Studio
from tui.widgets.tab_line import TabLine

NARROW_COLUMNS, NARROW_ROWS, WIDE_COLUMNS = 100, 30, 160
VIEW_NAMES = ("train", "chat", "evaluate", "export")


class Places(Shell):
    """Mixed into the app."""

    view_name = "train"
    narrow = False
    wide = False

    def _made(self, name: str) -> View:
        """The view called `name`, built when it is first wanted."""
        if name not in self.views:
            self.views[name] = _build_view(name, self.studio)
            self.views[name].fit(self.narrow, self.wide)
        return self.views[name]

    def on_resize(self, event: events.Resize) -> None:
        # Textual takes the new size in only after this handler: `self.size` is the old one.
        self._fit(event.size)
        self.call_after_refresh(self.show)

    def _fit(self, size: Size) -> None:
        width, height = size
        self.narrow = width < NARROW_COLUMNS or height < NARROW_ROWS
        self.wide = not self.narrow and width >= WIDE_COLUMNS
        self.query_one("#tabs", TabLine).display = self.narrow
        self.rail.expected = height - (3 if self.narrow else 2)
        self.rail.styles.width = "1fr" if self.narrow else 40 if self.wide else 32
        for view in self.views.values():
            view.fit(self.narrow, self.wide)
        self._place()

    def _place(self) -> None:
        """On a narrow screen show the rail panel or the view, whichever has the focus."""
        tabs = self.query_one("#tabs", TabLine)
        tabs.set_tabs(
            [
                (name, f"{number} {_(name.capitalize())}")
                for number, name in enumerate(RAIL_NAMES, 1)
            ],
            [(name, _(name.capitalize())) for name in VIEW_NAMES],
        )
        panel = self._focused_panel()
        view = self.views[self.view_name]
        if not self.narrow:
            self.rail.display = view.display = True
            if self.rail.single is not None:
                self.rail.show_single(None)
            return
        self.rail.display = panel is not None
        view.display = panel is None
        if panel is not None:
            self.rail.show_single(panel)
        tabs.open(panel or view.home or self.view_name)

    def _focused_panel(self) -> str | None:
        # A dialog over the screen has a focus of its own: it moves nothing below it.
        below = self.screen_stack[:1]
        node: Widget | None = below[0].focused if below else None
        for name, panel in self.rail.panels.items():
            if node is panel:
                return name
        return None

    async def open_view(self, name: str, focus: bool = True) -> None:
        """Show a view in the right half, building it the first time."""
        view = self._made(name)
        if not view.is_attached:
            # Hidden until it stands alone: two views are never seen side by side.
            view.display = False
            await self.query_one("#body").mount(view)
        self.view_name = name
        for other in self.views.values():
            # Two wishes may have crossed while a view was being built: the last one stands alone.
            other.display = other is view
        for key, panel in self.rail.panels.items():
            panel.active = key == view.home and focus
        if focus:
            view.entry().focus()
        self._place()
        self.show()

    async def action_view(self, name: str) -> None:
        await self.open_view(name)

    async def action_rail(self, name: str) -> None:
        if self.narrow:
            self.rail.display = True
            self.rail.show_single(name)
        self.rail.panels[name].focus()
        await self._bring_detail(name)

    async def _bring_detail(self, name: str) -> None:
        """Focus on a rail panel brings up its detail beside it."""
        if self.narrow:
            self._place()
            self.show()
        else:
            await self.open_view(name, focus=False)

    async def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        panel = self._focused_panel()
        if panel is not None and not self.narrow and self.view_name != panel:
            await self._bring_detail(panel)
        else:
            for key, other in self.rail.panels.items():
                other.active = panel is None and key == self.views[self.view_name].home
            self._place()
            self.call_after_refresh(self.show)

    def on_list_panel_highlighted(self) -> None:
        """Another row of a rail list: its detail follows at once."""
        self.show()

    async def on_step_in(self, message: StepIn) -> None:
        await self.open_view(message.name)
        if message.search:
            self.views[message.name].begin_search()

    async def on_tab_line_chosen(self, message: TabLine.Chosen) -> None:
        if message.key in RAIL_NAMES:
            await self.action_rail(message.key)
        else:
            await self.open_view(message.key)

    async def action_back(self) -> None:
        """One level out: from a detail to its rail panel, from there to the monitor."""
        view = self.views[self.view_name]
        panel = self._focused_panel()
        if panel is None and view.step_back():
            self.show()
        elif panel is None and view.home:
            await self.action_rail(view.home)
        elif panel is not None or self.view_name != "train":
            await self.open_view("train")

    # Textual binds Tab and Shift+Tab to these names on every screen.
    def action_focus_next(self) -> None:
        self.call_later(self._walk, 1)

    def action_focus_previous(self) -> None:
        self.call_later(self._walk, -1)

    async def _walk(self, by: int) -> None:
        """To the next panel; on a narrow screen on to the next tab after a place's last one."""
        chain = self.screen.focus_chain
        place = chain.index(self.focused) if self.focused in chain else -1
        if not self.narrow or len(self.screen_stack) > 1 or 0 <= place + by < len(chain):
            self.screen.focus_next() if by > 0 else self.screen.focus_previous()
            return
        tabs = [*RAIL_NAMES, *VIEW_NAMES]
        here = self._focused_panel() or self.views[self.view_name].home or self.view_name
        there = tabs[(tabs.index(here) + by) % len(tabs)]
        await (self.action_rail(there) if there in RAIL_NAMES else self.open_view(there))


def _build_view(name: str, studio: Studio) -> View:
    """Views are imported when they are first wanted: opening the screen needs one of them."""
    from importlib import import_module

    homes = {
        "train": ("train", "TrainView"),
        "model": ("model", "ModelView"),
        "data": ("data", "DataView"),
        "settings": ("settings", "SettingsView"),
        "runs": ("runs", "RunView"),
        "chat": ("chat", "ChatView"),
        "evaluate": ("evaluate", "EvaluateView"),
        "export": ("export", "ExportView"),
    }
    module, kind = homes[name]
    view: View = getattr(import_module(f"tui.panes.{module}"), kind)(studio)
    return view
