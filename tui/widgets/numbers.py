"""How the screen writes numbers: loss, rates, durations, sizes, shares, ages, and names cut to fit.

A missing reading (`None`, NaN, infinity) is always `–`, never 0.
"""

from __future__ import annotations

import math

from rich.cells import cell_len

from tui.widgets.text_safe import take_cells, take_last_cells

MISSING = "–"
_KB, _MB, _GB, _TB = 1e3, 1e6, 1e9, 1e12
_MIB, _GIB = 2**20, 2**30


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def loss(value: float | None) -> str:
    """A loss, a gradient norm or a score to 3 significant digits, without empty zeros: `0.61`."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    size = abs(float(f"{value:.3g}"))
    if size >= 1e6 or size < 1e-3:
        return rate(value, digits=3)
    if size >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def rate(value: float | None, digits: int = 2) -> str:
    """A learning rate: `1e-4`, `4.1e-4`; from 0.1 up as a plain number. `digits` is the most
    significant digits shown."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    if 0.1 <= abs(rounded) < 1e6:
        return f"{rounded:g}" if abs(rounded) < 1000 else f"{rounded:,.0f}"
    mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def duration(seconds: float | None) -> str:
    """A length of time: `14s`, `2m10s`, `1h04m`, `2d03h`."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = minutes // 60
    return f"{hours // 24}d{hours % 24:02d}h"


def about(seconds: float | None) -> str:
    """An estimate of a length of time, no finer than it can be: `20 s`, `6 min`, `3.5 h`, `2 d`."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return MISSING
    if seconds < 55:
        return f"{max(1, round(seconds / 5) * 5) if seconds >= 5 else max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 36 * 3600:
        hours = round(seconds / 1800) / 2
        return f"{hours:g} h"
    return f"{round(seconds / 86400)} d"


def age(seconds: float | None) -> str:
    """How long ago: `now`, `2m`, `5h`, `1d`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 60:
        return "now"
    if seconds < 3600:
        return f"{int(seconds // 60)}m"
    if seconds < 86400:
        return f"{int(seconds // 3600)}h"
    return f"{int(seconds // 86400)}d"


def size(count: float | None) -> str:
    """Bytes of a file or a disk in decimal units: `1.2 GB`, `80 GB`, `4.1 MB`, `300 KB`."""
    if count is None or not math.isfinite(count) or count < 0:
        return MISSING
    for unit, name in ((_TB, "TB"), (_GB, "GB"), (_MB, "MB"), (_KB, "KB")):
        if count >= unit * 0.9995:
            return f"{_one_decimal(count / unit)} {name}"
    return f"{int(count)} B"


def _one_decimal(value: float) -> str:
    """One decimal below ten, and above it where it is not nought."""
    text = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return text.removesuffix(".0")


def memory(count: float | None) -> str:
    """Bytes of memory in GB as the machine's makers count them (2^30), one decimal: `1.2`."""
    return MISSING if not _known(count) else _one_decimal(float(count or 0) / _GIB)


def memory_size(count: float | None) -> str:
    """Bytes of memory in powers of 1,024, as `memory` counts them: `1.2 GB`, `266 MB`, `9.3 MB`."""
    if not _known(count):
        return MISSING
    value = float(count or 0)
    if value >= _GIB:
        return f"{memory(value)} GB"
    return f"{_one_decimal(value / _MIB)} MB"


def memory_of(used: float | None, total: float | None) -> str:
    """Memory used of what there is: `61.2/80 GB`, `2.8/23 GB`; the total as a whole number."""
    if not _known(total):
        return MISSING if not _known(used) else f"{memory(used)} GB"
    whole = float(total or 0) / _GIB
    return f"{memory(used)}/{whole:.0f} GB" if whole >= 10 else f"{memory(used)}/{whole:.1f} GB"


def percent(share: float | None) -> str:
    """A share (0 to 1) as whole percent: `57 %`."""
    if share is None or not math.isfinite(share):
        return MISSING
    # Not done is never shown as done.
    whole = min(99, round(share * 100)) if share < 1 else round(share * 100)
    return f"{whole} %"


def thousands(count: float | None) -> str:
    """A whole number with its thousands separated: `8,192`."""
    return MISSING if count is None or not math.isfinite(count) else f"{round(count):,}"


def compact(count: float | None) -> str:
    """A count of parameters or tokens: `950`, `12 k`, `4.9 M`, `135 M`, `1.2 B`."""
    if count is None or not math.isfinite(count):
        return MISSING
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= unit * 0.9995:
            value = count / unit
            return f"{value:.0f} {name}" if abs(value) >= 9.95 else f"{_one_decimal(value)} {name}"
    return f"{count:.0f}"


def end_cut(text: str, width: int) -> str:
    """`text`, its end cut off with `…` where it takes more than `width` cells."""
    if cell_len(text) <= width:
        return text
    return take_cells(text, width - 1) + "…" if width > 0 else ""


def middle_cut(text: str, width: int) -> str:
    """`text`, cut in the middle with `…` where it takes more than `width` cells: names often tell
    themselves apart at the end."""
    if cell_len(text) <= width:
        return text
    if width < 3:
        return end_cut(text, width)
    tail = (width - 1) // 2
    return take_cells(text, width - 1 - tail) + "…" + take_last_cells(text, tail)
