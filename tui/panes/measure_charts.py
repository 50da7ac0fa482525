"""The curves of a run: its loss, and below it the measure that its stage is watched by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical

from tui.actions import bindings
from tui.language import _
from tui.language import marked as _m
from tui.panes.view import View
from tui.panes.words import chart_words
from tui.widgets.chart import LossChart

if TYPE_CHECKING:
    from engine.runs.measures import Picture
    from tui.widgets.frame import Line

# With fewer rows two charts would be too low to read: then one shows each measure in turn.
ROWS_FOR_TWO = 20
_BETTER = {"higher": ("↑", _m("higher is better")), "lower": ("↓", _m("lower is better"))}


class ChartView(View):
    """A view of a run's curves, with the keys that act on them."""

    scope = "train"
    BINDINGS: ClassVar = bindings("train")
    charts: MeasureCharts

    def charts_idle(self, answers: bool) -> frozenset[str]:
        """The keys of the curves that would do nothing now; `answers`: there are some to read."""
        none = set() if answers else {"train.completions"}
        return frozenset(none | (set() if self.charts.choices > 1 else {"train.measure"}))

    def explained(self) -> list[Line]:
        lines: list[Line] = []
        for picture in self.charts.drawn():
            measure = picture.measure
            if measure.help:
                lines += [[(_(measure.label), "accent bold")], [(_(measure.help), "text")], []]
        return lines

    def read_completions(self) -> None:
        """Show the answers that the run's steps sampled."""
        raise NotImplementedError

    def action_zoom(self) -> None:
        self.charts.zoom()

    def action_log_axis(self) -> None:
        self.charts.toggle_log()

    def action_walk_measures(self, by: int) -> None:
        self.charts.walk(by)

    def action_read_completions(self) -> None:
        self.read_completions()


class MeasureCharts(Vertical):
    """One chart, or the loss above another measure where there is room for two."""

    DEFAULT_CSS = """
    MeasureCharts { height: 1fr; }
    MeasureCharts LossChart { height: 1fr; }
    """

    def __init__(self, empty: str) -> None:
        super().__init__(classes="measures")
        self.first = LossChart(chart_words(), empty=empty)
        self.second = LossChart(chart_words())
        self._empty = empty
        self._pictures: Sequence[Picture] = ()
        self._total: float | None = None
        # The measure that was asked for last; empty: the one its stage watches most.
        self._wanted = ""

    def compose(self) -> ComposeResult:
        yield self.first
        yield self.second

    def on_mount(self) -> None:
        self.second.display = False

    def on_resize(self, event: events.Resize) -> None:
        self._draw(event.size.height)

    def set_empty(self, empty: str) -> None:
        """What stands there before the first point."""
        self._empty = empty
        self._draw(self.size.height)

    def set_pictures(self, pictures: Sequence[Picture], total: float | None) -> None:
        """What a run has measured so far, and the steps that are planned."""
        self._pictures, self._total = pictures, total
        self._draw(self.size.height)

    @property
    def choices(self) -> int:
        """How many pictures the keys walk through."""
        return len(self._walked(self._two(self.size.height)))

    def drawn(self, height: int | None = None) -> list[Picture]:
        """The pictures that stand there now, or would in `height` rows."""
        two = self._two(self.size.height if height is None else height)
        walked = self._walked(two)
        if not walked:
            return []
        loss = [one for one in self._pictures if two and one.measure.key == "loss"]
        return [*loss, walked[self._place(walked)]]

    def walk(self, by: int) -> None:
        """The next picture, or the one before."""
        walked = self._walked(self._two(self.size.height))
        if walked:
            here = self._place(walked)
            self._wanted = walked[(here + by) % len(walked)].measure.key
            self._draw(self.size.height)

    def zoom(self) -> None:
        """The next part of the run, in both charts alike."""
        self.first.zoom()
        self.second.zoom(self.first.zoom_level)

    def toggle_log(self) -> None:
        """The axis of the loss."""
        self.first.toggle_log()

    def _two(self, height: int) -> bool:
        keys = [one.measure.key for one in self._pictures]
        return height >= ROWS_FOR_TWO and "loss" in keys and len(keys) > 1

    def _walked(self, two: bool) -> list[Picture]:
        return [one for one in self._pictures if not (two and one.measure.key == "loss")]

    def _place(self, walked: Sequence[Picture]) -> int:
        keys = [one.measure.key for one in walked]
        return keys.index(self._wanted) if self._wanted in keys else 0

    def _draw(self, height: int) -> None:
        two = self._two(height)
        if self.second.has_focus and not two:
            self.first.focus()
        self.second.display = two
        walked = self._walked(two)
        if not walked:
            self.first.set_points([], [])
            self.first.set_validation([], [])
            self.first.set_overlays([])
            self.first.set_words(chart_words(), self._empty)
            return
        for chart, picture in zip((self.first, self.second), self.drawn(height), strict=False):
            self._fill(chart, picture)

    def _fill(self, chart: LossChart, picture: Picture) -> None:
        measure = picture.measure
        _loss, smooth, points, checks = chart_words()
        words = (_(measure.label), smooth, points, checks)
        overlays = []
        if measure.curves is not None:
            words = (_(measure.label), _(measure.curves[0]), "", checks)
            overlays = [(_(measure.curves[1]), *picture.other)]
        note = _BETTER.get(measure.better) if measure.key != "loss" else None
        chart.set_words(words, self._empty, (note[0], _(note[1])) if note else ("", ""))
        chart.set_points(*picture.points)
        chart.set_overlays(overlays, ("✓", "✗") if overlays else ("", ""))
        chart.set_validation(*picture.judged)
        chart.set_total(self._total)
