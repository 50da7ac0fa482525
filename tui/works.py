"""The engine and the machine's readings, made when they are first wanted.

What they import is a good part of what the screen would wait for; the first frame needs neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.events import Event
    from engine.telemetry import Reading, Sampler
    from engine.worker import Engine


class Works:
    """Holds one engine and one sampler; given ones are used as they are (tests start their own)."""

    def __init__(self, engine: Engine | None = None, sampler: Sampler | None = None) -> None:
        self._engine = engine
        self._sampler = sampler
        self._listener: Callable[[Event], None] | None = None

    @property
    def made(self) -> bool:
        """Whether there is an engine yet."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The engine; made and started now if there was none."""
        if self._engine is None:
            from engine.worker import Engine

            self._engine = Engine()
            if self._listener is not None:
                self._engine.subscribe(self._listener)
            self._engine.start()
        return self._engine

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event, on the engine thread, from now on."""
        self._listener = listener
        if self._engine is not None:
            self._engine.subscribe(listener)

    def begin(self) -> None:
        """Make what is not there yet."""
        if self._sampler is None:
            from engine.telemetry import Sampler

            self._sampler = Sampler()
            self._sampler.sample()
            self._sampler.start()
        _ = self.engine

    def reading(self) -> Reading | None:
        """The machine's newest reading."""
        return self._sampler.latest() if self._sampler is not None else None

    def close(self, deadline: float) -> None:
        """Stop the job, saving it, and end both."""
        if self._sampler is not None:
            self._sampler.stop()
        if self._engine is not None:
            self._engine.shutdown(True, deadline)
