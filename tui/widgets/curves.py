"""The arithmetic of a chart: reduced points, the smoothed curve, axes that stay put."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

Point = tuple[float, float]
Zoom = Literal["all", "half", "tenth"]
ZOOMS: tuple[Zoom, ...] = ("all", "half", "tenth")


def in_order(
    steps: Iterable[float], values: Iterable[float | None]
) -> tuple[list[float], list[float]]:
    """Steps that only rise, with their values (a missing one as NaN).

    A resumed run repeats the steps after its checkpoint: what was logged later stands, and what was
    logged earlier from there on is dropped.
    """
    kept_steps: list[float] = []
    kept: list[float] = []
    for step, value in zip(steps, values, strict=False):
        if not math.isfinite(step):
            continue
        while kept_steps and kept_steps[-1] >= step:
            kept_steps.pop()
            kept.pop()
        kept_steps.append(step)
        kept.append(math.nan if value is None else float(value))
    return kept_steps, kept


def smoothing_weight(count: int) -> float:
    """w = 1.8·(1/(1+e^(−0.05·n)) − 0.5), n the number of points; 0.9 from about 750 points on."""
    return 1.8 * (1 / (1 + math.exp(-0.05 * count)) - 0.5)


def smoothed(values: Sequence[float]) -> list[float]:
    """TensorBoard's exponential moving average with the weight of `smoothing_weight`.

    NaN and infinity are no points: they stay NaN, and the average goes on behind them.
    """
    weight = smoothing_weight(sum(map(math.isfinite, values)))
    return averaged(values, weight, None)


def averaged(values: Iterable[float], weight: float, last: float | None) -> list[float]:
    """The exponential moving average that goes on from `last` (None: it begins)."""
    result: list[float] = []
    for value in values:
        if not math.isfinite(value):
            result.append(math.nan)
            continue
        last = value if last is None else last * weight + (1 - weight) * value
        result.append(last)
    return result


class Columns:
    """Points reduced to what is worth drawing in `count` columns over `x_range`: of each column the
    lowest, the highest and the last value, where they were, so that spikes survive.

    Points outside `x_range` are left out. A NaN or infinite value (with `log` also one not above 0)
    ends a run of points to be joined. Points may be added as they come, with rising steps.
    """

    def __init__(self, x_range: tuple[float, float], count: int, *, log: bool = False) -> None:
        self._low, self._high = x_range
        self._scale = count / (self._high - self._low) if self._high > self._low else 0.0
        self._count = count
        self._log = log
        self._done: list[list[Point]] = []
        self._run: list[Point] = []
        self._column = -1
        self._kept: tuple[Point, Point, Point] = ((0.0, 0.0),) * 3

    def extend(self, steps: Sequence[float], values: Sequence[float]) -> None:
        """Adds points."""
        low_x, high_x, scale, final, log = (
            self._low, self._high, self._scale, self._count - 1, self._log
        )  # fmt: skip
        column = self._column
        lowest, highest, last = self._kept
        for step, value in zip(steps, values, strict=True):
            if step < low_x or step > high_x:
                continue
            if not math.isfinite(value) or (log and value <= 0):
                if column >= 0:
                    self._run += sorted({lowest, highest, last})
                    self._done.append(self._run)
                    self._run = []
                    column = -1
                continue
            here = min(final, int((step - low_x) * scale))
            point = (step, value)
            if here != column:
                if column >= 0:
                    self._run += sorted({lowest, highest, last})
                column = here
                lowest = highest = last = point
                continue
            if value < lowest[1]:
                lowest = point
            elif value > highest[1]:
                highest = point
            last = point
        self._column = column
        self._kept = (lowest, highest, last)

    def runs(self) -> list[list[Point]]:
        """The runs of points to be joined."""
        if self._column < 0:
            return list(self._done)
        return [*self._done, self._run + sorted(set(self._kept))]


def reduce_runs(
    steps: Sequence[float],
    values: Sequence[float],
    x_range: tuple[float, float],
    columns: int,
    *,
    log: bool = False,
) -> list[list[Point]]:
    """All points at once through `Columns`."""
    reduced = Columns(x_range, columns, log=log)
    reduced.extend(steps, values)
    return reduced.runs()


@dataclass(frozen=True)
class Axis:
    """The bounds of a value axis and the labels to stand at it (value, text), highest first."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """How far up the axis a value stands: 0 at the bottom, 1 at the top, held inside."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        # Halved first: the distance of two finite numbers can be infinite.
        return max(0.0, min(1.0, (value / 2 - low / 2) / (high / 2 - low / 2)))


def nice_step(raw: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `raw` (above 0)."""
    if raw < 1e-300:
        return 1e-300
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 5, 10):
        if factor * power >= raw * (1 - 1e-9):
            return factor * power
    return 10 * power


def _label(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    # Minus nought is nought.
    text = f"{value + 0.0 if value else 0.0:.{decimals}f}"
    if len(text) <= 5:
        return text
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def value_axis(low: float, high: float, *, log: bool = False) -> Axis:
    """An axis around values from `low` to `high` (finite; above 0 with `log`).

    Its ends are multiples of a round step, about a tenth of what is spanned (and of no less than
    four fifths of the values' size, or the first points of a run would move it each time), so a
    new point seldom moves it. The label between the ends is a multiple of it too.
    """
    if log:
        return _log_axis(low, high)
    # Half of it: the distance of two finite numbers can be infinite.
    half = max(high / 2 - low / 2, 0.4 * max(abs(low), abs(high)))
    step = nice_step(half / 8.75) if half > 0 else 0.1
    if step > 1e306:
        step = max(abs(low), abs(high))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    if last <= first:
        last = first + 2
    marks = (last, (first + last) // 2, first)
    ticks = tuple((mark * step, _label(mark * step, step)) for mark in marks)
    return Axis(first * step, last * step, ticks)


def _log_axis(low: float, high: float) -> Axis:
    def below(value: float) -> float:
        power = 10.0 ** math.floor(math.log10(value) + 1e-9)
        return max(factor * power for factor in (1, 2, 5) if factor * power <= value * (1 + 1e-9))

    low, high = (min(1e300, max(value, 1e-300)) for value in (low, high))
    bottom = below(low)
    top = nice_step(high)
    if top <= bottom * (1 + 1e-9):
        bottom, top = below(bottom * 0.6), nice_step(top * 1.1)
    middle = math.sqrt(bottom) * math.sqrt(top)
    between = below(middle)
    values = [top, between, bottom] if bottom < between * (1 - 1e-9) < top * 0.99 else [top, bottom]
    ticks = tuple((value, _log_label(value)) for value in values)
    return Axis(bottom, top, ticks, log=True)


def _log_label(value: float) -> str:
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def step_window(zoom: Zoom, last: float, total: float | None) -> tuple[float, float]:
    """The steps that the x axis spans.

    `all`: from 0 to the planned end (or, where there is no plan or the run went past it, to a round
    number behind the last step). `half`, `tenth`: that last part of what has been done, its ends on
    round numbers so that they stay put for a while.
    """
    if zoom == "all" or last <= 0:
        if total is not None and total >= last and total > 0:
            return 0.0, float(total)
        step = nice_step(max(last, 1) / 5)
        return 0.0, math.ceil(max(last, 1) / step) * step
    share = 0.5 if zoom == "half" else 0.1
    step = max(1.0, nice_step(last * share / 5))
    low = math.floor(last * (1 - share) / step) * step
    high = math.floor(last / step + 1) * step
    if total is not None and total >= last:
        high = min(high, float(total))
    return (low, high) if high > low else (low, low + step)


def step_labels(x_range: tuple[float, float], width: int) -> list[tuple[int, str]]:
    """Labels below `width` columns as (first column, text): the two ends, and round steps between
    them, each beginning at its column; those that would touch another are dropped."""
    low, high = x_range
    if width <= 0 or high <= low:
        return []

    def text_of(value: float) -> str:
        return f"{value:,.0f}"

    end = text_of(high)
    last = (width - cell_len(end), end) if cell_len(end) <= width else None
    labels = [(0, text_of(low))]
    if last is None or last[0] < len(labels[0][1]) + 2:
        return labels if len(labels[0][1]) <= width else []
    step = max(1.0, nice_step((high - low) / 4))
    number = math.floor(low / step) + 1
    while number * step < high:
        value = number * step
        column = int((value - low) / (high - low) * width)
        text = text_of(value)
        free = labels[-1][0] + len(labels[-1][1]) + 2
        if column >= free and column + len(text) + 2 <= last[0]:
            labels.append((column, text))
        number += 1
    return [*labels, last]
