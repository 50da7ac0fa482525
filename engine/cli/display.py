"""A job's events on the command line: a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from typing import Any

from engine.cli.output import Output, visible
from engine.cli.words import amount, duration, loss, rate, size
from engine.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    LogLine,
    PredictionMade,
    Progress,
    RunDescribed,
    StateChanged,
    StepLogged,
    StepTick,
)


def display_for(out: Output) -> Lines | Bar:
    """The display that suits where the output goes."""
    return Bar(out) if out.is_terminal else Lines(out)


class Lines:
    """One plain line for each thing that happens: for pipes, logs and schedulers."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._activity = ""
        self._told = 0.0

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
            return
        line = sentence(event)
        if line:
            self._out.say(line)

    def close(self) -> None:
        self._out.flush()

    def _progress(self, event: Progress) -> None:
        # A new activity at once, the same one every ten seconds.
        now = time.monotonic()
        if event.activity != self._activity or now - self._told >= 10:
            self._activity, self._told = event.activity, now
            share = f"  {100 * event.done / event.total:.0f} %" if event.total else ""
            self._out.say(f"{visible(event.activity)}{share}")


class Bar:
    """rich's progress bar, with log lines above it."""

    def __init__(self, out: Output) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
        )

        # rich must not look for markup in what libraries, rows and file names hold.
        self._console = Console(file=out.out, markup=False, highlight=False, emoji=False)
        self._progress: Any = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._console,
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=4,
        )
        self._task: Any = None
        self._total = 0.0
        self._last: StepLogged | None = None

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            unit = event.unit == "bytes"
            figures = f"{size(event.done)} of {size(event.total)}" if unit else ""
            self._bar(visible(event.activity), event.done, event.total, figures)
        elif isinstance(event, StepLogged):
            self._last = event
            self._bar("training", event.step, event.total_steps, self._figures(event))
        elif isinstance(event, StepTick):
            self._bar("training", event.step, event.total_steps, self._figures(event))
        elif isinstance(event, PredictionMade):
            self._bar("predicting", event.index + 1, event.total, "")
        else:
            line = sentence(event)
            if line:
                self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        if self._task is not None:
            self._progress.stop()

    def _figures(self, event: StepLogged | StepTick) -> str:
        parts = [f"loss {loss(self._last.loss)}"] if self._last else []
        if event.throughput:
            parts.append(f"{event.throughput:,.0f} tok/s")
        if event.remaining is not None:
            parts.append(f"{duration(event.remaining)} left")
        return "  ".join(parts)

    def _bar(self, what: str, done: float, total: float, figures: str) -> None:
        whole = total or None
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(what, total=whole, figures=figures)
        self._progress.update(
            self._task, description=what, completed=done, total=whole, figures=figures
        )


def sentence(event: Event) -> str:
    """An event as one line; empty for those that are no news by themselves."""
    if isinstance(event, StateChanged):
        # The other states show in what follows them: steps, a saved checkpoint, an error.
        if event.state not in ("queued", "paused", "evaluating", "exporting", "done", "stopped"):
            return ""
        return event.state + (f": {visible(event.detail)}" if event.detail else "")
    if isinstance(event, RunDescribed):
        share = 100 * event.trainable_parameters / max(event.parameters, 1)
        return (
            f"{visible(event.model)}: {event.rows:,} rows, {event.total_steps:,} steps, "
            f"{amount(event.trainable_parameters)} of {amount(event.parameters)} parameters "
            f"({share:.1f} %), {event.precision}, {event.device}"
        )
    if isinstance(event, StepLogged):
        return _step(event)
    if isinstance(event, Evaluated):
        best = ", the best so far" if event.best else ""
        return f"step {event.step}  validation loss {loss(event.loss)}{best}"
    if isinstance(event, CheckpointSaved):
        return f"checkpoint-{event.step} saved ({size(event.size)} in {event.seconds:.1f} s)"
    if isinstance(event, PredictionMade):
        scores = "  ".join(f"{name} {value:.1f}" for name, value in event.scores.items())
        return f"row {event.index + 1}/{event.total}  {scores}".rstrip()
    if isinstance(event, LogLine):
        mark = "" if event.level == "info" else f"{event.level}: "
        return mark + visible(event.text)
    return ""


def _step(event: StepLogged) -> str:
    parts = [
        f"step {event.step}/{event.total_steps}",
        f"loss {loss(event.loss)}",
        f"lr {rate(event.learning_rate)}",
    ]
    if event.grad_norm is not None:
        parts.append(f"grad {loss(event.grad_norm)}")
    parts.append(f"epoch {event.epoch:.2f}")
    if event.throughput:
        parts.append(f"{event.throughput:,.0f} tok/s")
    if event.remaining is not None:
        parts.append(f"{duration(event.remaining)} left")
    return "  ".join(parts)
