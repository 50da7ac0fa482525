"""Loading an optimiser's state exactly as it was saved."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from engine.training.optimisers import schedule_free

OPTIMISER_FILE = "optimizer.pt"
SCHEDULER_FILE = "scheduler.pt"


def load_state(trainer: Any, checkpoint: Path) -> None:
    """Bring a trainer's optimiser and scheduler to where the checkpoint left them."""
    with torch.serialization.safe_globals(_projectors()):
        state = torch.load(checkpoint / OPTIMISER_FILE, map_location="cpu", weights_only=True)
    beside = {key: state.pop(key) for key in (schedule_free.KEY,) if key in state}
    trainer.optimizer.load_state_dict(state)
    _place_projections(trainer.optimizer.state)
    schedule_free.bring_back(trainer.optimizer, beside)
    schedule = torch.load(checkpoint / SCHEDULER_FILE, map_location="cpu", weights_only=True)
    trainer.lr_scheduler.load_state_dict(schedule)


def save_state(trainer: Any, folder: Path) -> None:
    """The counterpart of `load_state`."""
    optimiser = trainer.optimizer
    state = {**optimiser.state_dict(), **schedule_free.kept_beside(optimiser)}
    torch.save(state, folder / OPTIMISER_FILE)
    torch.save(trainer.lr_scheduler.state_dict(), folder / SCHEDULER_FILE)


def keep_types(optimiser: torch.optim.Optimizer) -> None:
    """Make `load_state_dict` leave each tensor of the state in the type it was saved in.

    torch casts them to the type of the weight: of bf16 weights, Adafactor's fp32 factors would be
    rounded.
    """
    given: list[dict[str, Any]] = []

    def before(_: Any, state: dict[str, Any]) -> None:
        given.append(state)

    def after(loaded: torch.optim.Optimizer) -> None:
        state = given.pop()
        saved = chain.from_iterable(group["params"] for group in state["param_groups"])
        ours = chain.from_iterable(group["params"] for group in loaded.param_groups)
        for number, parameter in zip(saved, ours, strict=True):
            for key, value in state["state"].get(number, {}).items():
                held = loaded.state[parameter]
                if isinstance(value, torch.Tensor) and held[key].dtype != value.dtype:
                    held[key] = value.to(parameter.device, copy=True)

    optimiser.register_load_state_dict_pre_hook(before)
    optimiser.register_load_state_dict_post_hook(after)


def _place_projections(state: Any) -> None:
    """Put what projectors hold where the weights are (torch moves tensors only)."""
    for parameter, values in state.items():
        for value in values.values() if isinstance(values, dict) else ():
            if hasattr(value, "ortho_matrix"):
                value.ortho_matrix = _moved(value.ortho_matrix, parameter.device)


def _moved(matrix: Any, device: torch.device) -> Any:
    if isinstance(matrix, list):
        return [part.to(device) for part in matrix]
    return matrix if matrix is None else matrix.to(device)


def _projectors() -> list[Any]:
    """The classes that GaLore's and APOLLO's state may hold, of the library that is in use."""
    found: list[Any] = []
    if "galore_torch" in sys.modules:
        from engine.training.optimisers import galore

        found += galore.projector_classes()
    if "apollo_torch" in sys.modules:
        from engine.training.optimisers import apollo

        found += apollo.projector_classes()
    return found
