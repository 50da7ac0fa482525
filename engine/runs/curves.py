"""A run's curves, from whichever of its files holds them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.events import Evaluated, StepLogged
from engine.runs.eventlog import read_events
from engine.runs.json_object import read_object
from engine.runs.trainer_log import LogPoint, parse_point, read_trainer_log, without_repeats

_NAN = math.nan


@dataclass(frozen=True)
class Curves:
    """What a run measured, step by step.

    `losses`, `lrs`, `grad_norms`, `throughput` (tokens/s) run parallel to `steps`, NaN where a
    line holds no value (or the value was NaN: a gap either way). `eval_losses` runs parallel to
    `eval_steps`. `watched` maps every other measure to its (step, value) points.
    """

    steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    lrs: tuple[float, ...] = ()
    grad_norms: tuple[float, ...] = ()
    throughput: tuple[float, ...] = ()
    eval_steps: tuple[int, ...] = ()
    eval_losses: tuple[float, ...] = ()
    total_steps: int = 0
    watched: dict[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)


def read_curves(path: Path) -> Curves:
    """The curves of the run folder `path`; empty ones where nothing was logged.

    `trainer_log.jsonl` first; where it is missing, `events.jsonl`, then the trainer's own state.
    The gradient norm, which other tools keep out of the log, is taken from the trainer's state.
    """
    points = read_trainer_log(path)
    if not any(p.loss is not None or p.eval_loss is not None for p in points):
        points = _from_events(path / "events.jsonl") or points
    history = None
    if not any(p.loss is not None or p.eval_loss is not None for p in points):
        history = _from_state(path)
        points = history or points
    curves = curves_of(points)
    if curves.steps and all(math.isnan(norm) for norm in curves.grad_norms) and history is None:
        norms = {p.step: p.grad_norm for p in _from_state(path) if p.grad_norm is not None}
        if norms:
            filled = tuple(norms.get(step, _NAN) for step in curves.steps)
            curves = Curves(**{**curves.__dict__, "grad_norms": filled})
    return curves


def curves_of(points: Iterable[LogPoint]) -> Curves:
    """The curves of log points, with what a resume repeated counted once."""
    points = list(points)
    total = next((p.total_steps for p in reversed(points) if p.loss is not None), 0)
    total = total or max((p.total_steps for p in points), default=0)
    kept = without_repeats(points)
    trained = [p for p in kept if p.loss is not None]
    judged = [p for p in kept if p.eval_loss is not None]
    watched: dict[str, list[tuple[int, float]]] = {}
    for point in kept:
        extra = dict(point.watched)
        for name in ("reward", "accuracy"):
            value = getattr(point, name)
            if value is not None:
                extra[name] = value
        for name, value in extra.items():
            watched.setdefault(name, []).append((point.step, value))
    return Curves(
        steps=tuple(p.step for p in trained),
        losses=tuple(_or_nan(p.loss) for p in trained),
        lrs=tuple(_or_nan(p.lr) for p in trained),
        grad_norms=tuple(_or_nan(p.grad_norm) for p in trained),
        throughput=tuple(_or_nan(p.throughput) for p in trained),
        eval_steps=tuple(p.step for p in judged),
        eval_losses=tuple(_or_nan(p.eval_loss) for p in judged),
        total_steps=total,
        watched={name: tuple(values) for name, values in watched.items()},
    )


def _or_nan(value: float | None) -> float:
    return _NAN if value is None else value


def _from_events(path: Path) -> list[LogPoint]:
    points = []
    for event in read_events(path):
        if isinstance(event, StepLogged):
            points.append(
                LogPoint(
                    step=event.step,
                    total_steps=event.total_steps,
                    loss=event.loss,
                    lr=event.learning_rate,
                    grad_norm=event.grad_norm,
                    epoch=event.epoch,
                    throughput=event.throughput,
                    watched=event.watched,
                )
            )
        elif isinstance(event, Evaluated):
            watched = {f"eval_{name}": value for name, value in event.metrics.items()}
            points.append(LogPoint(step=event.step, eval_loss=event.loss, watched=watched))
    return points


def _from_state(folder: Path) -> list[LogPoint]:
    """The `log_history` of `trainer_state.json`, in the run or in its newest checkpoint."""
    from engine.runs.folder import checkpoint_steps

    places = [folder, *(folder / f"checkpoint-{s}" for s in reversed(checkpoint_steps(folder)))]
    for place in places:
        state = read_object(place / "trainer_state.json")
        if not state:
            continue
        total = state.get("max_steps")
        lines = state.get("log_history")
        points = []
        for line in lines if isinstance(lines, list) else []:
            if not isinstance(line, dict):
                continue
            point = parse_point(json.dumps({"max_steps": total, **line}))
            # The trainer's last line sums the run up; its figures are no curve.
            if point is not None and "train_runtime" not in point.watched:
                points.append(point)
        return points
    return []
