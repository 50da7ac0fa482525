"""What GaLore and APOLLO share: the tensors that are projected, and their optimiser's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.models.optimiser_size import LowRank, is_projected
from engine.problem import BadInput, Problem
from engine.training.optimisers.groups import Named, plain_name, with_decay


def split(model: Any, named: Named, ranks: LowRank) -> tuple[Named, Named]:
    """The projected tensors (weights of linear layers, wider than the rank), and the others."""
    import torch

    linear = {
        id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Linear)
    }
    chosen: Named = []
    rest: Named = []
    for name, parameter in named:
        shape = tuple(parameter.shape)
        meant = id(parameter) in linear and is_projected(plain_name(name), shape, ranks)
        (chosen if meant else rest).append((name, parameter))
    return chosen, rest


def projected_groups(
    model: Any, named: Named, ranks: LowRank, decay_names: list[str], decay: float, setting: str
) -> tuple[list[Any], Named]:
    """The groups of whole tensors, and the projected tensors. Raises BadInput where none is."""
    chosen, rest = split(model, named, ranks)
    if not chosen:
        raise BadInput(
            Problem(
                f"No trained linear layer named by {ranks.targets} is wider than the rank "
                f"{ranks.rank}, so there is nothing to project.",
                hint="Lower the rank, or name other layers.",
                setting=setting,
            )
        )
    return with_decay(rest, decay_names, decay), chosen


def assemble(
    groups: list[Any],
    lr: float,
    make: Callable[[list[Any]], Any],
    refuse: Callable[[float], None] | None,
) -> Any:
    """The optimiser over `groups`: at once, or (with `refuse`) layer by layer."""
    if refuse is None:
        return make(groups)
    from engine.training.optimisers.layerwise import LayerwiseOptimizer

    return LayerwiseOptimizer(groups, lr, make, refuse)
