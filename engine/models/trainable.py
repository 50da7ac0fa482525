"""How many weights a method trains, from tensor shapes: LoRA, OFT, freeze, full."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from engine.models.architecture import count, is_embedding, is_output_layer, layer_of
from engine.models.vision import part_of, sees, trains, whole_parts

Shapes = Mapping[str, tuple[int, ...]]


def trainable_parameters(shapes: Shapes, config: Any) -> int:
    """Weights that `config`'s method trains in a model with these tensors.

    LoRA: rank x (inputs + outputs) a target, plus `additional_target` modules whole (Hu et al.,
    2021); DoRA one more for each output. OFT: the upper triangle of each block of inputs. Freeze:
    the modules of the last n blocks (first n where n is negative) and the extra ones. LLaMA Pro:
    as many new blocks, which have the shapes of those that they are copied from. Full: all.
    """
    method = config.finetuning_type
    if method == "freeze":
        return sum(count(shapes[name]) for name in frozen_exceptions(shapes, config))
    if sees(shapes):
        shapes = {name: shape for name, shape in shapes.items() if trains(name, config)}
    if method == "lora":
        return lora_parameters(
            shapes,
            config.lora_rank,
            config.lora_target,
            config.additional_target,
            dora=config.use_dora,
            blocks=_copied_blocks(shapes, config),
        )
    if method == "oft":
        return oft_parameters(shapes, config)
    return sum(count(shape) for shape in shapes.values())


def lora_parameters(
    shapes: Shapes,
    rank: int,
    target: str,
    additional: str | None,
    *,
    dora: bool = False,
    blocks: Collection[int] | None = None,
) -> int:
    """Weights of a LoRA adapter on `target` (`all`, or module names by comma), in `blocks` only
    where they are given."""
    total = 0
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        inside = blocks is None or layer_of(name) in blocks
        if module != name and len(shape) == 2 and inside and _targeted(name, module, target):
            total += rank * (shape[0] + shape[1]) + (shape[0] if dora else 0)
    return total + _whole(shapes, additional)


def oft_parameters(shapes: Shapes, config: Any) -> int:
    """Weights of an OFT adapter: size · (size − 1) / 2 for each block of a target's inputs."""
    total = 0
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if module != name and len(shape) == 2 and _targeted(name, module, config.oft_target):
            blocks, size = oft_blocks(shape[1], config.oft_rank, config.oft_block_size)
            total += blocks * size * (size - 1) // 2
    return total + _whole(shapes, config.additional_target)


def oft_blocks(inputs: int, rank: int, block_size: int) -> tuple[int, int]:
    """How OFT cuts so many inputs: the number of blocks and their size.

    `rank` is the wanted number; 0 goes by `block_size`. What does not divide the inputs becomes
    the nearest number that does, as in peft 0.21 (`OFTLayer.adjust_oft_parameters`).
    """
    wanted = rank or block_size
    if wanted >= inputs:
        fitting = inputs
    else:
        higher = next(n for n in range(wanted, inputs + 1) if inputs % n == 0)
        lower = next(n for n in range(wanted, 0, -1) if inputs % n == 0)
        fitting = lower if wanted - lower <= higher - wanted else higher
    return (fitting, inputs // fitting) if rank else (inputs // fitting, fitting)


def _copied_blocks(shapes: Shapes, config: Any) -> Collection[int] | None:
    """The blocks that LLaMA Pro copies, None without it; the last n where they don't fit."""
    if not config.use_llama_pro:
        return None
    total = _block_count(shapes)
    added = max(int(config.freeze_trainable_layers), 1)
    if total % added:
        return range(total)[-added:]
    return range(total // added - 1, total, total // added)


def _block_count(shapes: Shapes) -> int:
    return max((layer for layer in map(layer_of, shapes) if layer is not None), default=-1) + 1


def _whole(shapes: Shapes, names: str | None) -> int:
    """Weights of the modules that are trained whole beside an adapter."""
    return sum(
        count(shape) for name, shape in shapes.items() if _named(name.rsplit(".", 1)[0], names)
    )


def frozen_exceptions(
    shapes: Shapes, config: Any, blocks: Collection[int] | None = None
) -> list[str]:
    """Names of the tensors that `finetuning_type: freeze` leaves trainable.

    `blocks` are the trained blocks where they are known; otherwise those of the settings, with
    LLaMA Pro those that the new ones are copied from. Of a vision-language model the blocks are
    those that write; its other parts train whole where the settings do not freeze them.
    """
    seen: list[str] = []
    if sees(shapes):
        seen = sorted(whole_parts(shapes, config))
        shapes = {
            name: shape
            for name, shape in shapes.items()
            if part_of(name) == "language" and trains(name, config)
        }
    total = _block_count(shapes)
    wanted = int(config.freeze_trainable_layers)
    chosen = set(range(total)[-wanted:] if wanted > 0 else range(total)[: abs(wanted)])
    if blocks is None:
        blocks = _copied_blocks(shapes, config)
    if blocks is not None:
        chosen = set(blocks)
    modules = _words(config.freeze_trainable_modules) or ["all"]
    extra = _words(config.freeze_extra_modules)
    names = seen
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
