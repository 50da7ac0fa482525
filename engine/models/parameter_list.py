"""Every weight of a model in a line: shape, number type, device, trained or frozen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def parameter_lines(model: Any) -> Iterator[str]:
    """A line a weight in the model's order, then a line of sums."""
    total = trained = 0
    for name, weight in model.named_parameters():
        shape = " × ".join(str(size) for size in weight.shape) or "one number"
        kind = str(weight.dtype).removeprefix("torch.")
        state = "trained" if weight.requires_grad else "frozen"
        total += weight.numel()
        trained += weight.numel() if weight.requires_grad else 0
        yield f"{name}: {shape}, {kind}, {weight.device}, {state}"
    yield f"{total:,} parameters, {trained:,} of them trained."
