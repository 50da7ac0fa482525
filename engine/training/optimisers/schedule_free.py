"""Schedule-free optimisers (Defazio et al., 2024) keep two sets of weights: one is trained at, the
other, their average, is what a person wants.

Going from one to the other and back rounds, so a checkpoint holds both: the average as the model,
the trained ones in the optimiser's file, and a resume is exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

KEY = "trained_weights"


def switches(optimiser: Any) -> bool:
    """Whether an optimiser has the two sets (accelerate's wrapper has the methods always)."""
    inner = getattr(optimiser, "optimizer", optimiser)
    return bool(inner is not None and "train_mode" in inner.param_groups[0])


def train_weights(optimiser: Any) -> None:
    """Make the weights those that are trained at, before a step."""
    if switches(optimiser):
        optimiser.train()


@contextlib.contextmanager
def averaged_weights(optimiser: Any) -> Iterator[None]:
    """Inside, the model's weights are the averaged ones; afterwards exactly what they were."""
    if optimiser is None or not switches(optimiser) or not _trains(optimiser):
        yield
        return
    kept = _copies(optimiser)
    optimiser.eval()
    try:
        yield
    finally:
        _put_back(optimiser, kept)


def kept_beside(optimiser: Any) -> dict[str, Any]:
    """What the optimiser's file has to hold beside its state: the weights that are trained at."""
    if switches(optimiser) and _trains(optimiser):
        return {KEY: _copies(optimiser)}
    return {}


def bring_back(optimiser: Any, state: dict[str, Any]) -> None:
    """The counterpart of `kept_beside`, after the state was loaded."""
    if KEY in state:
        _put_back(optimiser, state[KEY])


def are_averaged(optimiser: Any) -> None:
    """Note that the weights were replaced by averaged ones (of the best checkpoint)."""
    if optimiser is not None and switches(optimiser):
        for group in optimiser.param_groups:
            group["train_mode"] = False


def _trains(optimiser: Any) -> bool:
    return any(group["train_mode"] for group in optimiser.param_groups)


def _copies(optimiser: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for group in optimiser.param_groups for p in group["params"]]


@torch.no_grad()
def _put_back(optimiser: Any, kept: list[torch.Tensor]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for parameter, value in zip(parameters, kept, strict=True):
        parameter.copy_(value)
    for group in optimiser.param_groups:
        group["train_mode"] = True
