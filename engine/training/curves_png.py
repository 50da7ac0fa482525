"""The loss curves as pictures: `training_loss.png`, `training_eval_loss.png`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from engine.runs.trainer_log import read_trainer_log, without_repeats


def smoothed(values: Sequence[float]) -> list[float]:
    """TensorBoard's exponential moving average, the weight growing with the number of points.

    w = 1.8·(1/(1+e^(-0.05·n)) - 0.5); values that are not finite are passed over.
    """
    if not values:
        return []
    weight = 1.8 * (1 / (1 + math.exp(-0.05 * len(values))) - 0.5)
    last = next((value for value in values if math.isfinite(value)), math.nan)
    out = []
    for value in values:
        if math.isfinite(value):
            last = last * weight + value * (1 - weight)
        out.append(last)
    return out


def draw_curves(run: Path) -> list[Path]:
    """Draw what `trainer_log.jsonl` of a run holds; returns the pictures, one a measure.

    A measure with fewer than two points gives no picture.
    """
    points = without_repeats(read_trainer_log(run))
    series = {
        "training_loss.png": ("loss", [(p.step, p.loss) for p in points if p.loss is not None]),
        "training_eval_loss.png": (
            "eval_loss",
            [(p.step, p.eval_loss) for p in points if p.eval_loss is not None],
        ),
    }
    drawn = []
    for name, (label, curve) in series.items():
        if len(curve) > 1:
            _draw(run / name, label, [s for s, _ in curve], [v for _, v in curve])
            drawn.append(run / name)
    return drawn


def _draw(path: Path, label: str, steps: list[int], values: list[float]) -> None:
    # Not pyplot: it keeps global state, and this runs beside a screen on a thread of its own.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(steps, values, color="#1f77b4", alpha=0.4, label="original")
    axes.plot(steps, smoothed(values), color="#1f77b4", label="smoothed")
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    axes.set_title(path.parent.name.replace("$", r"\$"))
    axes.legend()
    # matplotlib chooses the format by the ending, so the temporary name keeps it.
    partial = path.with_name(f".{path.stem}.partial.png")
    try:
        canvas.print_png(str(partial))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
