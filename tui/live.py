"""A run as the screen knows it: folded from events, whether it runs here or ended last week."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from engine.events import (
    ENDED,
    CheckpointSaved,
    Evaluated,
    Event,
    JobFailed,
    JobFinished,
    LogLine,
    PredictionMade,
    Progress,
    RunDescribed,
    StateChanged,
    StepLogged,
    StepTick,
)

LOG_LINES = 2000


@dataclass
class LiveRun:
    """What the monitor shows. Points of the curves are kept whole; log lines are bounded."""

    run: str
    kind: str = "train"
    folder: Path | None = None
    state: str = "queued"
    detail: str = ""
    model: str = ""
    stage: str = ""
    method: str = ""
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    throughput: float | None = None
    remaining: float | None = None
    remaining_at: float = 0.0
    tokens: int = 0
    activity: str = ""
    activity_done: float = 0.0
    activity_total: float = 0.0
    activity_unit: str = ""
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    watched: dict[str, list[float]] = field(default_factory=dict)
    eval_steps: list[int] = field(default_factory=list)
    eval_losses: list[float] = field(default_factory=list)
    predictions: list[PredictionMade] = field(default_factory=list)
    log: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    log_count: int = 0
    failure: JobFailed | None = None
    result: dict[str, object] = field(default_factory=dict)
    checkpoints: list[CheckpointSaved] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def percent(self) -> int:
        """Whole percent of the work in hand: steps while training, else the activity."""
        if self.state in ("training", "paused", "evaluating", "saving") and self.total_steps:
            return int(100 * self.step / self.total_steps)
        if self.activity_total:
            return min(100, int(100 * self.activity_done / self.activity_total))
        return 0

    def seconds_left(self, now: float | None = None) -> float | None:
        """The engine's estimate, counted down between its readings; None where there is none."""
        if self.remaining is None or self.ended:
            return None
        if self.state == "paused":
            return self.remaining
        return max(0.0, self.remaining - ((now or time.time()) - self.remaining_at))

    def fold(self, event: Event) -> None:
        """Take one event in; events of other runs are the caller's to keep away."""
        match event:
            case StepLogged():
                self._point(event)
            case StepTick():
                self.step, self.total_steps, self.epoch = event.step, event.total_steps, event.epoch
                self.throughput = event.throughput or self.throughput
                if event.remaining is not None:
                    self.remaining, self.remaining_at = event.remaining, event.time
            case StateChanged():
                self.state, self.detail = event.state, event.detail
                self.activity = ""
            case Progress():
                self.activity, self.activity_unit = event.activity, event.unit
                self.activity_done, self.activity_total = event.done, event.total
            case RunDescribed():
                self.model, self.stage, self.method = event.model, event.stage, event.method
                self.total_steps = event.total_steps
            case Evaluated():
                self.eval_steps.append(event.step)
                self.eval_losses.append(event.loss)
            case CheckpointSaved():
                self.checkpoints.append(event)
            case LogLine():
                self.log.append((event.time, event.level, event.text))
                self.log_count += 1
            case PredictionMade():
                self.predictions.append(event)
            case JobFailed():
                self.failure = event
                self.log.append((event.time, "error", event.what))
                self.log_count += 1
            case JobFinished():
                self.result = event.result
            case _:
                pass

    def _point(self, event: StepLogged) -> None:
        # A resumed run logs steps again: its newer points replace the older ones.
        while self.steps and self.steps[-1] >= event.step:
            for series in (self.steps, self.losses, self.rates, self.norms, self.speeds):
                series.pop()
        self.steps.append(event.step)
        self.losses.append(event.loss)
        self.rates.append(event.learning_rate)
        self.norms.append(math.nan if event.grad_norm is None else event.grad_norm)
        self.speeds.append(math.nan if event.throughput is None else event.throughput)
        for name, value in event.watched.items():
            self.watched.setdefault(name, []).append(value)
        self.step, self.total_steps, self.epoch = event.step, event.total_steps, event.epoch
        self.tokens = event.tokens
        self.throughput = event.throughput or self.throughput
        self.remaining, self.remaining_at = event.remaining, event.time


def smoothed_last(losses: list[float]) -> float:
    """The last value of TensorBoard's moving average with the field's weight (FORMATS).

    w = 1.8·(1/(1+e^(−0.05·n)) − 0.5), n the number of points; values that are not finite are left
    out of the average.
    """
    finite = [value for value in losses if math.isfinite(value)]
    if not finite:
        return math.nan
    weight = 1.8 * (1 / (1 + math.exp(-0.05 * len(finite))) - 0.5)
    last = finite[0]
    for value in finite:
        last = weight * last + (1 - weight) * value
    return last
