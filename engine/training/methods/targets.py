"""The modules that a setting names, checked against the model."""

from __future__ import annotations

from typing import Any

from engine.config import split_names
from engine.models.quantise import all_targets
from engine.problem import BadInput, Problem


def target_modules(model: Any, setting: str, value: str) -> str | list[str]:
    """What peft is told of `value`, a comma list: names, or every linear layer but the head.

    Raises BadInput for a name that the model lacks.
    """
    names = list(split_names(value))
    if names == ["all"]:
        return all_targets(model)
    check_names(model, names, setting)
    return names


def whole_modules(model: Any, value: str | None) -> list[str] | None:
    """The modules that are trained whole beside an adapter, or None. Raises BadInput."""
    names = list(split_names(value))
    check_names(model, names, "additional_target")
    return names or None


def linear_names(model: Any) -> list[str]:
    """The names of the linear layers inside the model's blocks, such as q_proj."""
    import torch

    from engine.models.blocks import decoder_blocks

    _, _, blocks = decoder_blocks(model)
    return sorted(
        {
            path.rsplit(".", 1)[-1]
            for path, module in blocks.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
    )


def check_names(model: Any, names: list[str], setting: str) -> None:
    """Raise BadInput for a name that no module of the model has."""
    modules = [name for name, _ in model.named_modules()]
    for name in names:
        if not any(module == name or module.endswith(f".{name}") for module in modules):
            import torch

            linear = {
                path.rsplit(".", 1)[-1]
                for path, module in model.named_modules()
                if isinstance(module, torch.nn.Linear)
            }
            raise BadInput(
                Problem(
                    f"The model has no module named {name}.",
                    where=setting,
                    hint=f"Its linear modules are {', '.join(sorted(linear))}.",
                    setting=setting,
                )
            )
