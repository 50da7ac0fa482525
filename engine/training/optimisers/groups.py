"""Which trained tensors go into which group: decay or none, projected or whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Named = list[tuple[str, Any]]


def trained(model: Any) -> Named:
    """The tensors that are trained, by name; shared ones once."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def with_decay(named: Named, decay_names: Iterable[str], decay: float, **more: Any) -> list[Any]:
    """Two groups: with weight decay, and without (norms, biases). Empty ones are left out."""
    decaying = set(decay_names)
    groups = [
        {"params": [p for n, p in named if n in decaying], "weight_decay": decay, **more},
        {"params": [p for n, p in named if n not in decaying], "weight_decay": 0.0, **more},
    ]
    return [group for group in groups if group["params"]]


def plain_name(name: str) -> str:
    """A tensor's name without what peft wraps it in."""
    for part in ("base_model.model.", "modules_to_save.default.", "original_module."):
        name = name.replace(part, "")
    return name
