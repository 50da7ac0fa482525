"""What a job says while it runs, kept for a test to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Listener:
    """Collects events; `on` may react to one (stop the run at a step, for instance)."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.on: Callable[[Any], None] | None = None

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        if self.on is not None:
            self.on(event)

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]
