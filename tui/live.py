"""A run as the screen knows it: folded from events, whether it runs here or ended last week."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.events import (
    ENDED,
    CheckpointSaved,
    Completions,
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
from tui.engine_text import engine_text
from tui.language import _, joined, listed, named
from tui.widgets.numbers import compact, loss, size, thousands

if TYPE_CHECKING:
    from engine.runs.measures import Picture, Series

LOG_LINES = 2000
# Steps whose completions are held; the run's log has them all.
KEPT_COMPLETIONS = 100


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
    # What else was logged, by the log's names: (steps, values) of training, and of evaluations.
    watched: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    eval_steps: list[int] = field(default_factory=list)
    eval_losses: list[float] = field(default_factory=list)
    judged: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    completions: deque[Completions] = field(default_factory=lambda: deque(maxlen=KEPT_COMPLETIONS))
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
    def last_loss(self) -> float | None:
        """The newest loss that is a number."""
        return next((value for value in reversed(self.losses) if math.isfinite(value)), None)

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
                _add(self.eval_steps, self.eval_losses, event.step, event.loss)
                for name, value in event.metrics.items():
                    _add(*self.judged.setdefault(name, ([], [])), event.step, value)
                self._write(event.time, "info", self._evaluated(event))
            case CheckpointSaved():
                self.checkpoints.append(event)
                words = _("checkpoint-{step} saved ({size} in {seconds} s)").format(
                    step=event.step, size=size(event.size), seconds=f"{event.seconds:.1f}"
                )
                self._write(event.time, "info", words)
            case LogLine():
                self._write(event.time, event.level, engine_text(event.text))
            case PredictionMade():
                self.predictions.append(event)
            case Completions():
                while self.completions and self.completions[-1].step >= event.step:
                    self.completions.pop()
                self.completions.append(event)
            case JobFailed():
                self.failure = event
                self._write(event.time, "error", engine_text(event.what))
            case JobFinished():
                self.result = event.result
                self._tell_early_end(event)
            case _:
                pass

    def pictures(self) -> list[Picture]:
        """What the run has measured, in the order of its stage."""
        from engine.runs.measures import pictures

        trained: dict[str, Series] = {"loss": (self.steps, self.losses), **self.watched}
        judged: dict[str, Series] = {"loss": (self.eval_steps, self.eval_losses), **self.judged}
        return pictures(self.stage, trained, judged)

    def _evaluated(self, event: Evaluated) -> str:
        """`validation loss 0.68, accuracy 0.93, the best so far`."""
        from engine.runs.measures import measures

        words = [f"{_('validation loss')} {loss(event.loss)}"]
        for measure in measures(self.stage):
            name = next((one for one in measure.names if one in event.metrics), None)
            # A line has room for two; those without a better side can't be judged at a glance.
            if name is not None and measure.better != "neither" and len(words) < 3:
                words.append(f"{_(measure.label)} {loss(event.metrics[name])}")
        if event.best:
            words.append(_("the best so far"))
        return listed(words)

    def _tell_early_end(self, event: JobFinished) -> None:
        """A training run that came to its end before its last step was stopped for want of gain
        (by hand it has no result of its own)."""
        steps = event.result.get("steps")
        if "best_step" not in event.result or not isinstance(steps, int):
            return
        if 0 < steps < self.total_steps:
            words: tuple[str, ...] = (
                f"{_('step')} {thousands(steps)} {_('of')} {thousands(self.total_steps)}",
            )
            best = event.result["best_step"]
            if isinstance(best, int):
                words += (_("best at step {step}").format(step=thousands(best)),)
            early = _("Stopped early: the evaluations brought no gain any more.")
            self._write(event.time, "note", joined((early, listed(words))))

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
            _add(*self.watched.setdefault(name, ([], [])), event.step, value)
        self.step, self.total_steps, self.epoch = event.step, event.total_steps, event.epoch
        self.tokens = event.tokens
        self.throughput = event.throughput or self.throughput
        self.remaining, self.remaining_at = event.remaining, event.time


def _add(steps: list[int], values: list[float], step: int, value: float) -> None:
    """One point more; what a resumed run measures again replaces what it had measured."""
    while steps and steps[-1] >= step:
        steps.pop()
        values.pop()
    steps.append(step)
    values.append(value)


def _described(event: RunDescribed) -> str:
    """`training: 1,091 rows, 685 steps, 4.9 M of 139 M parameters (3.5 %)`."""
    share = 100 * event.trainable_parameters / event.parameters if event.parameters else 0.0
    of_all = f"{compact(event.trainable_parameters)} {_('of')} {compact(event.parameters)}"
    return listed(
        (
            named(_("training"), f"{thousands(event.rows)} {_('rows')}"),
            f"{thousands(event.total_steps)} {_('steps')}",
            f"{of_all} {_('parameters')} ({share:.1f} %)",
            event.precision,
            event.device,
        )
    )
