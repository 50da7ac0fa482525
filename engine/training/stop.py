"""The gate between micro-batches: where a run is stopped, paused, or ended by a guard."""

from __future__ import annotations

from collections.abc import Callable

from engine.runs.session import JobSession


class Gate:
    """Asked before every micro-batch, in training and in validation.

    A stop drops the unfinished step: `Stopped` leaves the trainer before the optimiser has moved
    anything. `paused_seconds` is the time spent waiting so far; it counts for no rate.
    """

    def __init__(self, session: JobSession, guards: tuple[Callable[[], None], ...] = ()) -> None:
        self._session = session
        self._guards = guards
        self.paused_seconds = 0.0

    def pass_through(self) -> None:
        """Return at once, or wait while paused. Raises Stopped, or a guard's JobFault."""
        paused = self._session.control.check(on_pause=lambda: self._session.state("paused"))
        if paused:
            self.paused_seconds += paused
            self._session.state("training")
        for guard in self._guards:
            guard()
