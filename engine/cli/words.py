"""Figures as people read them: durations, sizes, rates, losses."""

from __future__ import annotations

import math
import time


def duration(seconds: float | None) -> str:
    """`45s`, `2m10s`, `3h05m`, `2d04h`; `–` where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"


def ago(moment: float) -> str:
    """How long ago a moment (unix seconds) was, in its largest unit."""
    passed = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if passed >= length:
            return f"{int(passed // length)}{unit}"
    return "now"


def size(count: float | None) -> str:
    """Bytes in decimal units with one decimal."""
    if count is None:
        return "–"
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} B"


def memory(count: float | None) -> str:
    """Bytes of memory in powers of 1,024, as the machine's makers count them, one decimal."""
    if count is None:
        return "–"
    unit, length = ("GB", 2**30) if count >= 2**30 else ("MB", 2**20)
    return f"{count / length:.1f} {unit}"


def amount(count: float | None) -> str:
    """A number of parameters: `135 M`, `1.2 B`."""
    if count is None:
        return "–"
    for unit, length in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= length:
            figure = count / length
            return f"{figure:.1f} {unit}" if figure < 10 else f"{figure:.0f} {unit}"
    return f"{count:.0f}"


def loss(value: float | None) -> str:
    """Three significant digits; `–` where there is none."""
    if value is None:
        return "–"
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def rate(value: float) -> str:
    """A learning rate as 1e-4 or 4.1e-4."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
