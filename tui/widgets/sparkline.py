"""A curve in one line of text, or in a few."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, scale: tuple[float, float] | None = None) -> str:
    """At most `width` cells of `▁▂▃▄▅▆▇█`; a blank where a value is NaN or infinite. `scale` is
    what the lowest and the highest bar mean; without it the lowest and the highest value.

    More values than cells: each cell shows the one of its values that stands farthest from the mean
    of them all, so that a spike survives. Equal values stand in the middle (at the bottom if 0).
    """
    if width <= 0 or not values:
        return ""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * min(width, len(values))
    low, high = scale or (min(finite), max(finite))
    mean = sum(finite) / len(finite)
    text = []
    count = min(width, len(values))
    for cell in range(count):
        start = cell * len(values) // count
        end = max(start + 1, (cell + 1) * len(values) // count)
        known = [value for value in values[start:end] if math.isfinite(value)]
        if not known:
            text.append(" ")
            continue
        value = max(known, key=lambda one: abs(one - mean))
        if high > low:
            # Halved first: the distance of two finite numbers can be infinite.
            share = (value / 2 - low / 2) / (high / 2 - low / 2)
            text.append(BARS[max(0, min(len(BARS) - 1, int(share * len(BARS))))])
        else:
            text.append(BARS[3] if value else BARS[0])
    return "".join(text)


def tall_sparkline(values: Sequence[float], height: int) -> list[str]:
    """`height` lines of bars from 0 to the highest value, a cell a value; all must be finite."""
    top = max(values, default=0.0)
    eighths = [round(8 * height * max(value, 0.0) / top) if top > 0 else 0 for value in values]
    lines = []
    for line in range(height - 1, -1, -1):
        filled = (min(8, max(0, one - 8 * line)) for one in eighths)
        lines.append("".join(BARS[one - 1] if one else " " for one in filled))
    return lines
