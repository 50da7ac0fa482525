"""Gauges and small curves: the panels "machine" and "also watched", framed or in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from rich.cells import cell_len

from tui.widgets.frame import Framed, Line, Span, cut_line, line_width
from tui.widgets.numbers import MISSING, percent
from tui.widgets.sparkline import sparkline
from tui.widgets.text_safe import pad_cells

_EIGHTHS = " ▏▎▍▌▋▊▉█"
BAR_WIDTH = 20
COMPACT_BAR_WIDTH = 10

Row = TypeVar("Row", "GaugeRow", "WatchRow")


def gauge_bar(fraction: float | None, width: int) -> str:
    """A bar of `width` cells between `▕` and `▏`, filled to an eighth of a cell; empty where the
    fraction (0 to 1) is missing."""
    share = 0.0 if fraction is None or not math.isfinite(fraction) else fraction
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    # Something is never drawn as nothing, nor less than all as all.
    if share > 0 and eighths == 0:
        eighths = 1
    if share < 1 and eighths == width * 8:
        eighths -= 1
    full, rest = divmod(eighths, 8)
    bar = "█" * full + (_EIGHTHS[rest] if rest else "")
    return f"▕{bar:<{width}}▏"


@dataclass(frozen=True)
class GaugeRow:
    """One line of the machine panel. `fraction` (0 to 1) None: the machine cannot say. `near_limit`
    colours it. `spark` are its last fractions. `short` is its reading in the one-line form
    (`CPU 41 %`), where it has one."""

    label: str
    fraction: float | None
    texts: tuple[str, ...] = ()
    spark: tuple[float, ...] = ()
    near_limit: bool = False
    short: str = ""


class Readings(Framed, Generic[Row]):
    """Numbers a row each; in one line where it is one line high."""

    def __init__(self, title: str | Line, **options: object) -> None:
        super().__init__(title, **options)  # type: ignore[arg-type]
        self._rows: tuple[Row, ...] = ()

    def update(self, rows: Sequence[Row]) -> None:
        """Shows new readings."""
        if tuple(rows) != self._rows:
            self._rows = tuple(rows)
            self.picture_changed()

    def draw_line(self, y: int, width: int, height: int) -> Line:
        return self.one_line(width) if height == 1 else super().draw_line(y, width, height)

    def one_line(self, width: int) -> Line:
        """All rows in one line of `width` cells."""
        raise NotImplementedError


class Machine(Readings[GaugeRow]):
    """The readings of the machine, a gauge a row."""

    def __init__(self, title: str | Line = "machine", **options: object) -> None:
        super().__init__(title, **options)

    def content_line(self, y: int, width: int) -> Line:
        if y >= len(self._rows):
            return ()
        row = self._rows[y]
        labels = max(6, max(cell_len(one.label) for one in self._rows))
        # All bars are as long as the longest row's readings leave room for.
        longest = max(line_width(self._readings(one)) for one in self._rows)
        room = width - 1 - (labels + 2) - longest
        # A bar is a lot of ink: dim, so that the loss stays the brightest thing.
        bar = "warning" if row.near_limit else "dim"
        begin: list[Span] = [
            (f" {row.label}{' ' * (labels - cell_len(row.label))} ", "text"),
            (gauge_bar(row.fraction, max(COMPACT_BAR_WIDTH, min(BAR_WIDTH, room - 2))), bar),
        ]
        # What does not fit even then is left out whole, so that no number is read half.
        line = [*begin, *self._readings(row)]
        while row.texts and line_width(line) > width - 1:
            row = replace(row, texts=row.texts[:-1])
            line = [*begin, *self._readings(row)]
        room = width - line_width(line) - 1
        if row.spark and room > 0:
            line.append((sparkline(row.spark[-room:], room, (0, 1)), "dim"))
        return cut_line(line, width - 1)

    def _readings(self, row: GaugeRow) -> list[Span]:
        """What stands behind a row's bar: the share, and its texts in columns."""
        role = "warning" if row.near_limit else "text"
        line: list[Span] = [(f" {_right(percent(row.fraction), 5)}   ", role)]
        if len(row.texts) > 2:
            line.append(("   ".join(row.texts), "text"))
            return line
        brief = [one for one in self._rows if 0 < len(one.texts) <= 2]
        column = max((cell_len(one.texts[0]) for one in brief), default=0) + 2
        for index, text in enumerate(row.texts):
            last = index == len(row.texts) - 1 and not row.spark
            line.append((text if last else pad_cells(text, column), "text"))
        return line

    def one_line(self, width: int) -> Line:
        """The first row with its gauge, the others as their short readings."""
        if not self._rows:
            return ()
        row = self._rows[0]
        role, bar = ("warning", "warning") if row.near_limit else ("text", "dim")
        line: list[Span] = [
            (f" {row.label} ", "text"),
            (gauge_bar(row.fraction, COMPACT_BAR_WIDTH), bar),
            (f" {percent(row.fraction)}", role),
        ]
        for index, text in enumerate(row.texts):
            # What does not fit is left out whole, so that no number is read half.
            if line_width(line) + 2 + cell_len(text) <= width and index < 3:
                line.append((f"  {text}", "text"))
        gap = "   "
        for other in self._rows[1:]:
            if other.short and line_width(line) + len(gap) + cell_len(other.short) <= width:
                tint = "warning" if other.near_limit else "text"
                line += [(gap, "text"), (other.short, tint)]
                gap = "  "
        return line


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


@dataclass(frozen=True)
class WatchRow:
    """One measure of the run: its name, its newest value as text, and all its values.

    `progress` (0 to 1) is how much of the planned run they cover: the curve takes that share of the
    line, so that it grows instead of being squeezed. None: it takes all of it. `short` is the name
    in the one-line form, where it is another (or none: "").
    """

    label: str
    value: str = MISSING
    values: tuple[float, ...] = ()
    progress: float | None = None
    short: str | None = None


class Watched(Readings[WatchRow]):
    """Measures beside the loss, each with its curve."""

    def __init__(self, title: str | Line = "also watched", **options: object) -> None:
        super().__init__(title, **options)

    def content_line(self, y: int, width: int) -> Line:
        if y >= len(self._rows):
            return ()
        row = self._rows[y]
        labels = max(cell_len(one.label) for one in self._rows)
        values = max(6, max(cell_len(one.value) for one in self._rows))
        line: list[Span] = [
            (f" {row.label}{' ' * (labels - cell_len(row.label))}   ", "text"),
            (f"{row.value}{' ' * (values - cell_len(row.value))}   ", "text"),
        ]
        room = width - line_width(line) - 1
        if room > 0:
            line.append((sparkline(row.values, _grown(room, row.progress)), "dim"))
        return cut_line(line, width - 1)

    def one_line(self, width: int) -> Line:
        """The rows side by side, each with a curve of as many cells as are left for it."""
        line: list[Span] = []
        names = [
            f"{row.label if row.short is None else row.short} {row.value} ".lstrip()
            for row in self._rows
        ]
        shown = len(names)
        while shown > 1 and 1 + sum(map(cell_len, names[:shown])) + 3 * shown + 4 * shown > width:
            shown -= 1
        if not shown:
            return ()
        spare = width - 1 - sum(map(cell_len, names[:shown])) - 3 * shown
        curve = max(0, min(12, spare // shown))
        for row, name in zip(self._rows[:shown], names, strict=False):
            bars = sparkline(row.values, curve)
            line += [(name, "text"), (f"{bars:<{curve}}   ", "dim")]
        return [(" ", "text"), *line]


def _grown(room: int, progress: float | None) -> int:
    if progress is None or not math.isfinite(progress):
        return room
    return max(1, min(room, round(room * progress)))
