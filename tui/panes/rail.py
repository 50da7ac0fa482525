"""The left rail: what will be run. Model, Data, Settings, Runs, top to bottom.

Each panel is a summary, and a list while it is focused; its detail stands in the view beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.panes.rail_panels import DataPanel, ModelPanel, RunsPanel, SettingsPanel
from tui.widgets.frame import Framed

if TYPE_CHECKING:
    from tui.studio import Studio

MODEL_HEIGHT = 5
SETTINGS_HEIGHT = 12
RAIL_NAMES = ("model", "data", "settings", "runs")


class Rail(Vertical):
    """The four panels, their heights shared out: spare lines go to the lists that have more."""

    DEFAULT_CSS = """
    Rail { width: 32; height: 1fr; }
    Rail > Framed { width: 1fr; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(id="rail")
        self.studio = studio
        self.model = ModelPanel(studio)
        self.data = DataPanel(studio)
        self.settings = SettingsPanel(studio)
        self.runs = RunsPanel(studio)
        self.single: str | None = None
        # The height that the first layout will give it, so that the first picture is whole.
        self.expected = 0

    def compose(self) -> ComposeResult:
        yield self.model
        yield self.data
        yield self.settings
        yield self.runs

    @property
    def panels(self) -> dict[str, Framed]:
        return dict(zip(RAIL_NAMES, (self.model, self.data, self.settings, self.runs), strict=True))

    def show(self) -> None:
        for panel in (self.model, self.data, self.settings, self.runs):
            if panel.display:
                panel.show()
        self.share_out()

    def show_single(self, name: str | None) -> None:
        """On a narrow screen one panel fills the rail; None brings all four back."""
        self.single = name
        for key, panel in self.panels.items():
            panel.display = name is None or key == name
        self.share_out()

    def share_out(self) -> None:
        """Give each panel its height."""
        total = self.size.height or self.expected
        if self.single is not None or total <= 0:
            for panel in self.panels.values():
                panel.styles.height = "1fr"
            return
        listed = len(self.model.rows)
        model = MODEL_HEIGHT
        if self.model.has_focus:
            model = max(MODEL_HEIGHT, min(listed + 2, 12))
        settings = SETTINGS_HEIGHT
        rest = total - model - settings
        data_wanted = max(4, len(self.data.rows) + 2)
        runs_wanted = max(4, len(self.runs.rows) + 2)
        data = min(data_wanted, max(4, rest - min(runs_wanted, max(4, rest // 2))))
        runs = rest - data
        if runs > runs_wanted and len(self.runs.rows) <= len(self.data.rows):
            # Both lists are whole: a line of air under the shorter ones.
            spare = runs - runs_wanted
            data += min(spare, 1)
            settings += min(max(0, spare - 1), 2)
            runs = total - model - settings - data
        for panel, height in (
            (self.model, model),
            (self.data, data),
            (self.settings, settings),
            (self.runs, max(3, runs)),
        ):
            panel.styles.height = height

    def on_resize(self) -> None:
        self.share_out()
