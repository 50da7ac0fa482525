"""Training: one module a stage, one a method, and what happens around the loop of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.training.run import run_training

__all__ = ["run_training"]


def __getattr__(name: str) -> Any:
    if name == "run_training":
        from engine.training.run import run_training

        return run_training
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
