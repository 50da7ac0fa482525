"""Stopping a run amid a step, at a place that is the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.problem import Stopped
from engine.training.stop import Gate


@contextmanager
def asked_at(look: int, act: str = "stop") -> Iterator[None]:
    """Asks a run within for a stop (or another `act` of its control) at the `look`-th look of its
    gate, counted from 1 over training and validation."""
    looks = 0
    original = Gate.pass_through

    def counted(gate: Gate) -> None:
        nonlocal looks
        looks += 1
        if looks == look:
            getattr(gate._session.control, act)()
        original(gate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "pass_through", counted)
        yield


@contextmanager
def stopped_at(look: int) -> Iterator[None]:
    """As `asked_at`; the run within must stop."""
    with asked_at(look), pytest.raises(Stopped):
        yield
