"""How fast a run goes and how long it has left; time spent paused counts for nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_RECENT = 50


class Pace:
    """Measures one sitting of a run that may have had earlier ones.

    `before` is the training time in seconds of earlier sittings, `paused` tells the seconds spent
    paused in this one.
    """

    def __init__(
        self,
        before: float = 0.0,
        paused: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._before = before
        self._paused = paused
        self._clock = clock
        self._began: float | None = None
        self._step_began = 0.0
        self._steps = 0
        self._seconds_in_steps = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._tokens_since_log = 0
        self._seconds_since_log = 0.0

    def _now(self) -> float:
        return self._clock() - self._paused()

    def begin(self) -> None:
        self._began = self._now()

    def step_began(self) -> None:
        self._step_began = self._now()

    def step_ended(self, tokens: int) -> None:
        """A whole step over `tokens` real tokens is done."""
        seconds = self._now() - self._step_began
        self._steps += 1
        self._seconds_in_steps += seconds
        if self._steps == 2:
            self._recent.clear()  # the first step warms up caches and thread pools
        self._recent.append(seconds)
        self._tokens_since_log += tokens
        self._seconds_since_log += seconds

    @property
    def elapsed(self) -> float:
        """Seconds of training, earlier sittings included."""
        return self._before + (0.0 if self._began is None else self._now() - self._began)

    @property
    def throughput(self) -> float | None:
        """Real tokens a second over the steps since the last log."""
        if not self._seconds_since_log:
            return None
        return self._tokens_since_log / self._seconds_since_log

    def logged(self) -> None:
        """Start the throughput's window anew."""
        self._tokens_since_log = 0
        self._seconds_since_log = 0.0

    def remaining(self, step: int, total: int) -> float | None:
        """Seconds until step `total`: the mean of this sitting's recent steps, plus what this
        sitting spent between steps (validation, checkpoints). None before its first step."""
        if not self._recent or self._began is None:
            return None
        each = sum(self._recent) / len(self._recent)
        between = max(0.0, self._now() - self._began - self._seconds_in_steps) / self._steps
        return max(0, total - step) * (each + between)
