"""One job from start to end on the command line: its events in words, its signals, its code."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from engine.cli.output import Output, output
from engine.events import ENDED, Event, JobFailed, JobFinished, StateChanged
from engine.problem import Problem
from engine.worker import Engine, Job

SAVE_SECONDS = 60.0


class Display(Protocol):
    """What shows a job's events: lines, or a bar."""

    def show(self, event: Event) -> None: ...

    def close(self) -> None: ...


@dataclass
class Outcome:
    """How a job ended: its exit code and what it produced."""

    code: int = 1
    result: dict[str, Any] = field(default_factory=dict)
    failure: JobFailed | None = None
    state: str = ""
    detail: str = ""


class Leaving:
    """Ctrl+C once: stop and save; twice: leave. SIGTERM and SIGHUP: save, then leave.

    A handler never waits: the engine saves on its own thread, and a timer ends the process if
    that takes longer than it may.
    """

    def __init__(self, stop: Callable[[bool], None], out: Output) -> None:
        self._stop = stop
        self._out = out
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Leaving:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def code(self) -> int:
        return 128 + (self.signal or signal.SIGINT)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            os._exit(128 + number)
        first = self.signal is None
        self.signal = self.signal or number
        if not first:
            return
        # On another thread: the engine's locks may be held by the code this interrupted.
        threading.Thread(target=self._stop, args=(True,), daemon=True).start()
        if number == signal.SIGINT:
            words = "stopping; what is unfinished is saved. Ctrl+C again leaves at once."
            threading.Thread(target=self._out.tell, args=(words,), daemon=True).start()
            return
        deadline = threading.Timer(SAVE_SECONDS, os._exit, (128 + number,))
        deadline.daemon = True
        deadline.start()


def follow(job: Job, display: Display, engine: Engine | None = None) -> Outcome:
    """Run `job` to its end, showing its events. Errors are told; the outcome has the exit code."""
    out = output()
    out.divert()
    own = engine is None
    engine = engine or Engine()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    unsubscribe = engine.subscribe(events.put)
    engine.start()
    outcome = Outcome()
    started: list[str] = []

    def stop(save: bool) -> None:
        if started:
            engine.stop(started[0], save)

    try:
        with Leaving(stop, out) as leaving:
            run = engine.submit(job)
            started.append(run)
            if leaving.signal is not None:
                stop(True)
            while not outcome.state:
                try:
                    event = events.get(timeout=0.5)
                except queue.Empty:
                    continue
                if event.run == run:
                    display.show(event)
                    _take(event, outcome)
            cut = outcome.result.get("reason") == "stopped"  # an answer, with what was there
            if outcome.state == "stopped" or (cut and leaving.signal is not None):
                outcome.code = leaving.code
    finally:
        unsubscribe()
        display.close()
        if own:
            engine.shutdown(save=False, deadline=5.0)
    if outcome.failure is not None:
        _tell_failure(out, outcome.failure)
    return outcome


def _take(event: Event, outcome: Outcome) -> None:
    if isinstance(event, JobFailed):
        outcome.failure = event
    elif isinstance(event, JobFinished):
        outcome.result = event.result
    elif isinstance(event, StateChanged) and event.state in ENDED:
        outcome.state, outcome.detail = event.state, event.detail
        bad = outcome.failure is not None and outcome.failure.bad_input
        outcome.code = 0 if event.state == "done" else 2 if bad else 1


def _tell_failure(out: Output, failure: JobFailed) -> None:
    if "--debug" in sys.argv:
        out.tell(failure.details.rstrip())
    out.problem(Problem(failure.what, failure.where, failure.hint))
