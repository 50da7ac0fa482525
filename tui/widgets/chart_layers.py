"""What lies over a chart's curves: validation marks, signs at the curves' ends; cells as spans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tui.widgets.curves import Axis
from tui.widgets.frame import Span

MARK = "◆"
Cell = tuple[str, str]
Canvas = list[list[Cell]]
Series = tuple[Sequence[float], Sequence[float]]


def lay_marks(canvas: Canvas, points: Series, x_range: tuple[float, float], axis: Axis) -> None:
    """Validation marks. The line keeps its cells: a mark that falls on it stands beside it, one
    cell up or down, whichever is nearer to its value."""
    rows, columns = len(canvas), len(canvas[0])
    low, high = x_range
    for step, value in zip(*points, strict=True):
        if not low <= step <= high or not math.isfinite(value):
            continue
        if axis.log and value <= 0:
            continue
        column = min(columns - 1, int((step - low) / (high - low) * columns))
        exact = (1 - axis.share(value)) * (rows - 1)
        row = math.floor(exact + 0.5)
        nearer = 1 if exact > row else -1
        for place in (row, row + nearer, row - nearer):
            if 0 <= place < rows and canvas[place][column][1] != "series1":
                canvas[place][column] = (MARK, "series2")
                break


def lay_signs(
    canvas: Canvas,
    ends_of: Iterable[tuple[str, str, Series]],
    x_range: tuple[float, float],
    axis: Axis,
) -> None:
    """A sign at the end of each curve: (sign, role, points)."""
    low, high = x_range
    for sign, role, (steps, values) in ends_of:
        ends = [p for p in zip(steps, values, strict=True) if math.isfinite(p[1])][-1:]
        for step, value in ends:
            if sign and low <= step <= high and not (axis.log and value <= 0):
                column, row = _cell(canvas, (step - low) / (high - low), axis.share(value))
                canvas[row][column] = (sign, role)


def _cell(canvas: Canvas, across: float, up: float) -> tuple[int, int]:
    """The column and row of a point given by its shares of the canvas."""
    rows, columns = len(canvas), len(canvas[0])
    return min(columns - 1, int(across * columns)), math.floor((1 - up) * (rows - 1) + 0.5)


def spans_of(cells: Sequence[Cell]) -> list[Span]:
    """Cells with like roles put together."""
    spans: list[Span] = []
    for char, role in cells:
        if spans and (spans[-1][1] == role or char == " "):
            spans[-1] = (spans[-1][0] + char, spans[-1][1])
        else:
            spans.append((char, role))
    return spans
