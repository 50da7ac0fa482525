"""Points as braille dots in cells, drawn by plotext."""

from __future__ import annotations

from collections.abc import Sequence

from tui.widgets.curves import Point


def braille(
    runs: Sequence[Sequence[Point]],
    width: int,
    height: int,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    joined: bool,
) -> list[str]:
    """Points drawn by plotext into `height` lines of `width` braille cells; those of a run joined
    by a line where `joined`. All values must be finite."""
    # Late: it takes 80 ms, and the first screen has no curve.
    import plotext

    plotext.clear_figure()
    plotext.limitsize(False, False)
    plotext.plotsize(width, height)
    plotext.frame(False)
    plotext.xticks([])
    plotext.yticks([])
    plotext.theme("clear")
    plotext.xlim(*x_range)
    plotext.ylim(*y_range)
    draw = plotext.plot if joined else plotext.scatter
    for run in runs:
        draw([x for x, _ in run], [y for _, y in run], marker="braille")
    lines = plotext.uncolorize(plotext.build()).split("\n")[:height]
    plotext.clear_figure()
    return [f"{line:<{width}}" for line in lines]
