"""How many weights a method trains, from tensor shapes: LoRA, freeze, full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.models.architecture import count, is_embedding, is_output_layer, layer_of

Shapes = Mapping[str, tuple[int, ...]]


def trainable_parameters(shapes: Shapes, config: Any) -> int:
    """Weights that `config`'s method trains in a model with these tensors.

    LoRA: rank x (inputs + outputs) a target, plus `additional_target` modules whole (Hu et al.,
    2021). Freeze: the modules of the last n blocks (first n where n is negative) and the extra
    ones. Full: all.
    """
    method = config.finetuning_type
    if method == "lora":
        return lora_parameters(
            shapes, config.lora_rank, config.lora_target, config.additional_target
        )
    if method == "freeze":
        return sum(count(shapes[name]) for name in frozen_exceptions(shapes, config))
    return sum(count(shape) for shape in shapes.values())


def lora_parameters(shapes: Shapes, rank: int, target: str, additional: str | None) -> int:
    """Weights of a LoRA adapter on `target` (`all`, or module names by comma)."""
    total = 0
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if module != name and len(shape) == 2 and _targeted(name, module, target):
            total += rank * (shape[0] + shape[1])
        if _named(name.rsplit(".", 1)[0], additional):
            total += count(shape)
    return total


def frozen_exceptions(shapes: Shapes, config: Any) -> list[str]:
    """Names of the tensors that `finetuning_type: freeze` leaves trainable."""
    layers = [layer for layer in map(layer_of, shapes) if layer is not None]
    total = max(layers, default=-1) + 1
    wanted = int(config.freeze_trainable_layers)
    chosen = set(range(total)[-wanted:] if wanted > 0 else range(total)[: abs(wanted)])
    modules = _words(config.freeze_trainable_modules) or ["all"]
    extra = _words(config.freeze_extra_modules)
    names = []
    for name in shapes:
        layer = layer_of(name)
        if layer is None:
            if any(module in name.split(".") for module in extra):
                names.append(name)
        elif layer in chosen and ("all" in modules or set(modules) & set(name.split("."))):
            names.append(name)
    return names


def _targeted(name: str, module: str, target: str) -> bool:
    if target.strip() == "all":
        # A 2-D tensor outside the blocks is an embedding or the output layer; routers and expert
        # stacks of a mixture are parameters, not linear modules.
        inside = layer_of(name) is not None and ".experts." not in name
        return inside and not is_embedding(name) and not is_output_layer(name)
    return _named(module, target)


def _named(module: str, names: str | None) -> bool:
    """As peft matches: the whole name, or its end after a dot."""
    return any(module == word or module.endswith("." + word) for word in _words(names))


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
