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
from tui.language import _
from tui.widgets.numbers import compact, loss, size, thousands

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
                self._write(event.time, "info", _described(event))
            case Evaluated():
                self.eval_steps.append(event.step)
                self.eval_losses.append(event.loss)
                words = f"{_('validation loss')} {loss(event.loss)}"
                best = f", {_('the best so far')}" if event.best else ""
                self._write(event.time, "info", words + best)
            case CheckpointSaved():
                self.checkpoints.append(event)
                words = f"checkpoint-{event.step} {_('saved')}"
                cost = f"({size(event.size)} {_('in')} {event.seconds:.1f} s)"
                self._write(event.time, "info", f"{words} {cost}")
            case LogLine():
                self._write(event.time, event.level, event.text)
            case PredictionMade():
                self.predictions.append(event)
            case JobFailed():
                self.failure = event
                self._write(event.time, "error", event.what)
            case JobFinished():
                self.result = event.result
            case _:
                pass

    def _write(self, when: float, level: str, text: str) -> None:
        self.log.append((when, level, text))
        self.log_count += 1

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


def _described(event: RunDescribed) -> str:
    """`training: 1,091 rows, 685 steps, 4.9 M of 139 M parameters (3.5 %)`."""
    share = 100 * event.trainable_parameters / event.parameters if event.parameters else 0.0
    of_all = f"{compact(event.trainable_parameters)} {_('of')} {compact(event.parameters)}"
    return ", ".join(
        (
            f"{_('training')}: {thousands(event.rows)} {_('rows')}",
            f"{thousands(event.total_steps)} {_('steps')}",
            f"{of_all} {_('parameters')} ({share:.1f} %)",
            event.precision,
            event.device,
        )
    )
