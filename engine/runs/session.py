"""What a job is given: its run folder, its voice (publish) and its ear (stop, pause)."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.events import (
    ENDED,
    NOT_LOGGED,
    Event,
    JobFailed,
    JobFinished,
    LogLine,
    Progress,
    StateChanged,
)
from engine.problem import Stopped
from engine.runs.eventlog import EventLog


class Control:
    """Requests from outside to a running job. Every method may be called from any thread.

    The job asks `check()` between micro-batches. It waits there while paused and raises
    `Stopped` once a stop was asked for.
    """

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._stop = False
        self._save = True
        self._paused = False

    def stop(self, save: bool = True) -> None:
        with self._wake:
            self._stop = True
            self._save = save
            self._wake.notify_all()

    def pause(self) -> None:
        with self._wake:
            self._paused = True

    def go_on(self) -> None:
        with self._wake:
            self._paused = False
            self._wake.notify_all()

    @property
    def paused(self) -> bool:
        return self._paused

    def check(self, on_pause: Callable[[], None] | None = None) -> float:
        """Raise `Stopped` if asked to stop; wait while paused. Returns seconds spent paused.

        `on_pause` is called once when the wait begins.
        """
        if self._stop:
            raise Stopped(self._save)
        if not self._paused:
            return 0.0
        if on_pause is not None:
            on_pause()
        began = time.monotonic()
        with self._wake:
            self._wake.wait_for(lambda: self._stop or not self._paused)
        if self._stop:
            raise Stopped(self._save)
        return time.monotonic() - began


class JobSession:
    """One job while it runs: `folder` (None for jobs without one, such as chat), events, control.

    `publish` fills in run, seq and time, appends to the folder's `events.jsonl`, then tells the
    listener. It never blocks on a screen.
    """

    def __init__(
        self,
        run: str,
        folder: Path | None,
        listener: Callable[[Event], None],
        control: Control | None = None,
        log: EventLog | None = None,
    ) -> None:
        self.run = run
        self.folder = folder
        self.control = control or Control()
        self._listener = listener
        self._log = log or (EventLog(folder / "events.jsonl") if folder else None)
        self._seq = self._log.last_seq() if self._log else 0
        self._lock = threading.Lock()
        self._state: Any = "loading"

    def publish(self, event: Event) -> Event:
        """Number, stamp, append, then show. Returns the event as published.

        Raises OSError when the log can't take the event (a full disk), after it was shown. How a
        job ended is shown without raising: nothing could be done about it any more.
        """
        with self._lock:
            logged = not isinstance(event, NOT_LOGGED)
            if logged:
                self._seq += 1
            stamp: Mapping[str, Any] = {"run": self.run, "seq": self._seq, "time": time.time()}
            event = dataclasses.replace(event, **stamp)
            fault: OSError | None = None
            if logged and self._log is not None:
                try:
                    self._log.append(event)
                except OSError as error:
                    fault = error
        self._listener(event)
        if fault is not None and not _is_end(event):
            raise fault
        return event

    def check(self) -> float:
        """Raise `Stopped` if asked to stop; wait while paused, saying so before and after.

        Returns the seconds spent paused. For jobs that have nothing of their own to do then.
        """
        before = self._state
        waited = self.control.check(on_pause=lambda: self.state("paused"))
        if self._state == "paused":
            self.state(before)
        return waited

    def state(self, state: Any, detail: str = "") -> None:
        self._state = state
        self.publish(StateChanged(state=state, detail=detail))

    def say(self, text: str, level: Any = "info") -> None:
        self.publish(LogLine(text=text, level=level))

    def progress(self, activity: str, done: float, total: float = 0.0, unit: str = "") -> None:
        self.publish(Progress(activity=activity, done=done, total=total, unit=unit))

    def keep_out(self) -> None:
        """Write nothing more into the folder: it turned out to belong to another run."""
        self.close()
        self._log = None

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def _is_end(event: Event) -> bool:
    if isinstance(event, StateChanged):
        return event.state in ENDED
    return isinstance(event, (JobFailed, JobFinished))
