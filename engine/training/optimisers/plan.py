"""What a run's optimiser is built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.config.optimiser_rules import updates_in_backward


@dataclass(frozen=True)
class Plan:
    """What an optimiser is built from: the run's settings, and where to say something."""

    config: Any
    say: Callable[[str], None]

    @property
    def moves_in_backward(self) -> bool:
        return updates_in_backward(self.config)
