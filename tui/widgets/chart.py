"""The loss chart: original points as dim dots, the smoothed curve over them, validation marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding

from tui.widgets.braille import braille
from tui.widgets.chart_layers import MARK, Cell, lay_marks, lay_signs, spans_of
from tui.widgets.curves import (
    ZOOMS,
    Axis,
    Columns,
    Point,
    Zoom,
    averaged,
    in_order,
    reduce_runs,
    smoothed,
    smoothing_weight,
    step_labels,
    step_window,
    value_axis,
)
from tui.widgets.frame import Framed, Line, Span
from tui.widgets.numbers import loss as loss_text
from tui.widgets.sparkline import sparkline
from tui.widgets.text_safe import visible, wrap_cells

LABEL_WIDTH = 5
LEAST_ROWS = 8
_BLANKS = frozenset(" \u2800")

Series = tuple[list[float], list[float]]


class LossChart(Framed):
    """A measure over the steps of a run (the loss, or any other).

    The x axis spans the planned run, the y axis moves in round steps. With fewer than 8 lines it is
    a sparkline with the newest value. `words` are the names in the legend: of the measure, the
    smoothed curve, the original points (empty: they aren't named), and validation.
    """

    BINDINGS: ClassVar = [
        Binding("y", "toggle_log", "log axis", show=False, id="chart.log"),
        Binding("z", "zoom", "zoom", show=False, id="chart.zoom"),
    ]

    def __init__(
        self,
        words: tuple[str, str, str, str] = ("loss", "smoothed", "original", "validation"),
        *,
        empty: str = "No point yet: the curve begins with the first logged step.",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__("", name=name, id=id, classes=classes)
        self._words = words
        self._note = ("", "")
        self._empty = empty
        self._steps: list[float] = []
        self._values: list[float] = []
        self._smooth: list[float] = []
        # What set_points was given last, the finite ones' number, and what they were reduced to.
        self._given: tuple[list[float], list[float | None]] = ([], [])
        self._count = 0
        self._reduced: dict[str, tuple[tuple[object, ...], int, Columns]] = {}
        self._validation: tuple[list[float], list[float]] = ([], [])
        self._overlays: tuple[tuple[str, list[float], list[float]], ...] = ()
        self._signs = ("", "")
        self._total: float | None = None
        self._log_axis = False
        self._zoom: Zoom = "all"
        self._drawn: tuple[tuple[int, int], list[list[Cell]]] | None = None

    # What it shows

    @property
    def log_axis(self) -> bool:
        """Whether the value axis is logarithmic."""
        return self._log_axis

    @property
    def zoom_level(self) -> Zoom:
        """How much of the run is shown: `all`, the last `half`, the last `tenth`."""
        return self._zoom

    @property
    def newest(self) -> float | None:
        """The newest smoothed value."""
        return next((value for value in reversed(self._smooth) if math.isfinite(value)), None)

    def set_points(self, steps: Sequence[float], losses: Sequence[float | None]) -> None:
        """All points of the run, in the order in which they were logged. NaN, infinity and None are
        gaps; of steps that were logged twice (after a resume) the later ones stand.

        When they are the points of the last call and some more, only those are looked at.
        """
        known = len(self._given[0])
        before, self._given = self._given, (list(steps), list(losses))
        if self._given[0][:known] != before[0] or self._given[1][:known] != before[1]:
            known = 0
        elif len(self._given[0]) == known:
            return
        more_steps, more = in_order(self._given[0][known:], self._given[1][known:])
        if not known or (self._steps and more_steps and more_steps[0] <= self._steps[-1]):
            self._steps, self._values = in_order(*self._given)
            self._count = 0
            self._smooth = []
        else:
            self._steps += more_steps
            self._values += more
        self._smooth_on()
        self._chart_changed()

    def _smooth_on(self) -> None:
        """Smooths what is new; all of it while the weight still depends on the number of points."""
        new = self._values[len(self._smooth) :]
        before = smoothing_weight(self._count)
        self._count += sum(map(math.isfinite, new))
        if self._count == 0 or smoothing_weight(self._count) != before or not self._smooth:
            self._smooth = smoothed(self._values)
            self._reduced.clear()
        else:
            self._smooth += averaged(new, before, self.newest)

    def set_validation(self, steps: Sequence[float], losses: Sequence[float | None]) -> None:
        """The validation points."""
        new = in_order(steps, losses)
        if new[0] != self._validation[0] or not _same(new[1], self._validation[1]):
            self._validation = new
            self._chart_changed()

    def set_overlays(
        self,
        runs: Sequence[tuple[str, Sequence[float], Sequence[float | None]]],
        signs: tuple[str, str] = ("", ""),
    ) -> None:
        """Other runs to compare with, as (name, steps, values), at most five: their smoothed curves
        lie below this one's. Of a single one the newest value stands beside this one's; `signs`
        then stand at the ends of this curve and of that one, so that they are told apart without
        colours."""
        new = []
        for run_name, steps, values in runs[:5]:
            kept, known = in_order(steps, values)
            new.append((run_name, kept, smoothed(known)))
        old = self._overlays
        if (
            signs != self._signs
            or len(new) != len(old)
            or not all(
                one[:2] == two[:2] and _same(one[2], two[2])
                for one, two in zip(new, old, strict=True)
            )
        ):
            self._overlays, self._signs = tuple(new), signs
            self._chart_changed()

    def set_total(self, total_steps: float | None) -> None:
        """The steps that are planned, or None."""
        if total_steps != self._total:
            self._total = total_steps
            self._chart_changed()

    def set_words(
        self, words: tuple[str, str, str, str], empty: str = "", note: tuple[str, str] = ("", "")
    ) -> None:
        """The names in the legend, and what an empty chart says. `note` stands dim behind the
        measure's name: a sign, and words in its place where there is room."""
        new = (words, empty or self._empty, note)
        if new != (self._words, self._empty, self._note):
            self._words, self._empty, self._note = new
            self._chart_changed()

    def toggle_log(self) -> None:
        """Between a linear and a logarithmic value axis."""
        self._log_axis = not self._log_axis
        self._chart_changed()

    def zoom(self, level: Zoom | None = None) -> None:
        """Shows all of the run, its last half or its last tenth; without a level, the next one."""
        if level is None:
            level = ZOOMS[(ZOOMS.index(self._zoom) + 1) % len(ZOOMS)]
        if level != self._zoom:
            self._zoom = level
            self._chart_changed()

    def action_toggle_log(self) -> None:
        self.toggle_log()

    def action_zoom(self) -> None:
        self.zoom()

    def _chart_changed(self) -> None:
        self._drawn = None
        newest = self.newest
        figure: list[Span] = [] if newest is None else [(loss_text(newest), "series1 bold")]
        if figure and len(self._overlays) == 1:
            _, _, values = self._overlays[0]
            last = next((value for value in reversed(values) if math.isfinite(value)), None)
            figure += [(" · ", "dim"), (loss_text(last), _overlay_role(0))]
        self._figure = figure or ""
        self.picture_changed()

    # Drawing

    def draw_line(self, y: int, width: int, height: int) -> Line:
        if y == 0:
            self._title = self._legend(width)
        return super().draw_line(y, width, height)

    def _legend(self, width: int) -> Line:
        measure, curve, points, checks = self._words
        wide = width >= 86
        legend: list[Span] = [(visible(measure), "accent bold" if self.lit else "text")]
        if any(self._note):
            legend.append((f", {self._note[1]}" if wide else f" {self._note[0]}", "dim"))
        mine, other = self._signs
        legend += [(f"  ━{mine}", "series1"), (f" {curve}", "text")]
        if points:
            legend += [("  ·" if wide else " ·", "dim"), (f" {points}", "text")]
        if wide or self._validation[0]:
            legend += [(f"{'  ' if wide else ' '}{MARK}", "series2"), (f" {checks}", "text")]
        for index, (run_name, _, _) in enumerate(self._overlays):
            line = f"  ━{other}"
            legend += [(line, _overlay_role(index)), (f" {visible(run_name)}", "text")]
        if self._log_axis:
            legend.append(("  log", "dim"))
        return legend

    def content_line(self, y: int, width: int) -> Line:
        height = self.content_height
        if self.newest is None and not any(map(math.isfinite, self._validation[1])):
            lines = wrap_cells(self._empty, max(1, width - 2))
            row = y - max(0, (height - len(lines)) // 2)
            return [(f" {lines[row]}", "dim")] if 0 <= row < len(lines) else ()
        if height < LEAST_ROWS or width < LABEL_WIDTH + 12:
            return self._as_sparkline(width) if y == 0 else ()
        if self._drawn is None or self._drawn[0] != (width, height):
            self._drawn = ((width, height), self._draw(width, height))
        return spans_of(self._drawn[1][y])

    def _as_sparkline(self, width: int) -> Line:
        number = loss_text(self.newest)
        room = width - 3 - cell_len(number)
        progress = self._steps[-1] / self._total if self._total and self._steps else 1.0
        cells = max(1, min(room, round(room * progress)))
        return [
            (f" {number} ", "series1 bold"),
            (sparkline(self._smooth, cells) if room > 0 else "", "series1"),
        ]

    def _draw(self, width: int, height: int) -> list[list[Cell]]:
        """The content as rows of cells: labels, axes and curves."""
        last = max((*self._steps[-1:], *self._validation[0][-1:]), default=0.0)
        x_range = step_window(self._zoom, last, self._total)
        rows = height - 2
        # The labels' width is only known with the axis; nearly always it is the usual one.
        labels = LABEL_WIDTH
        while True:
            # One blank cell stays between the curve and the frame.
            columns = width - labels - 2
            layers = self._all_runs(columns, x_range)
            axis = self._axis((run for _, runs, _ in layers for run in runs), x_range)
            needed = max(cell_len(text) for _, text in axis.ticks)
            if needed <= labels or width - needed - 2 < 1:
                break
            labels = needed
        canvas: list[list[Cell]] = [[(" ", "text")] * columns for _ in range(rows)]
        self._lay(canvas, layers, x_range, axis)
        stubs = {
            min(rows - 1, int((1 - axis.share(value)) * rows)): text for value, text in axis.ticks
        }
        picture: list[list[Cell]] = []
        for row in range(rows):
            text = stubs.get(row)
            start = f"{text:>{labels}}┤" if text else " " * labels + "│"
            picture.append([*((char, "dim") for char in start), *canvas[row], (" ", "text")])
        base = " " * labels + "└" + "─" * columns + " "
        picture.append([(char, "dim") for char in base])
        below = [" "] * width
        for column, text in step_labels(x_range, columns):
            below[labels + 1 + column : labels + 1 + column + len(text)] = text
        picture.append([(char, "dim") for char in below[:width]])
        return picture

    def _runs(
        self, name: str, points: Series, x_range: tuple[float, float], columns: int
    ) -> list[list[Point]]:
        """A series reduced to `columns`; only what was added since the last time is looked at."""
        steps, values = points
        key = (x_range, columns, self._log_axis)
        kept = self._reduced.get(name)
        if kept is None or kept[0] != key:
            kept = (key, 0, Columns(x_range, columns, log=self._log_axis))
        _, done, reduced = kept
        reduced.extend(steps[done:], values[done:])
        self._reduced[name] = (key, len(steps), reduced)
        return reduced.runs()

    def _all_runs(
        self, columns: int, x_range: tuple[float, float]
    ) -> list[tuple[str, list[list[Point]], bool]]:
        """What is drawn, the lowest layer first: role, runs, and whether they are joined."""
        # Dots are thinned to the cell; a line is drawn dot by dot, two to a cell.
        layers = [
            ("dim", self._runs("original", (self._steps, self._values), x_range, columns), False)
        ]
        for index, (_, steps, values) in reversed(list(enumerate(self._overlays))):
            runs = reduce_runs(steps, values, x_range, columns * 2, log=self._log_axis)
            layers.append((_overlay_role(index), runs, True))
        curve = self._runs("smoothed", (self._steps, self._smooth), x_range, columns * 2)
        return [*layers, ("series1", curve, True)]

    def _axis(self, runs: Iterable[list[Point]], x_range: tuple[float, float]) -> Axis:
        """The value axis for everything in sight."""
        seen = [value for run in runs for _, value in run]
        for run in reduce_runs(*self._validation, x_range, 1, log=self._log_axis):
            seen += [value for _, value in run]
        if not seen:
            return value_axis(1, 1, log=self._log_axis)
        return value_axis(min(seen), max(seen), log=self._log_axis)

    def _lay(
        self,
        canvas: list[list[Cell]],
        layers: Sequence[tuple[str, list[list[Point]], bool]],
        x_range: tuple[float, float],
        axis: Axis,
    ) -> None:
        """Draws the layers over each other: where two share a cell the later one stands."""
        rows, columns = len(canvas), len(canvas[0])
        for role, runs, joined in layers:
            if not runs:
                continue
            shares = [[(x, axis.share(y)) for x, y in run] for run in runs]
            lines = braille(shares, columns, rows, x_range, (0, 1), joined=joined)
            for row, line in enumerate(lines):
                for column, char in enumerate(line):
                    if char not in _BLANKS:
                        canvas[row][column] = (char, role)
        if self._overlays and any(self._signs):
            mine, other = self._signs
            _, steps, values = self._overlays[0]
            ends: list[tuple[str, str, Series]] = [
                (mine, "series1", (self._steps, self._smooth)),
                (other, _overlay_role(0), (steps, values)),
            ]
            lay_signs(canvas, ends, x_range, axis)
        lay_marks(canvas, self._validation, x_range, axis)


def _overlay_role(index: int) -> str:
    # Series 2 is validation's.
    return f"series{3 + index % 4}"


def _same(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the values are equal, NaN being equal to NaN."""
    return len(first) == len(second) and all(
        one == two or (one != one and two != two) for one, two in zip(first, second, strict=True)
    )
