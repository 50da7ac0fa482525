"""Block expansion: copies of decoder blocks that change nothing, put between the blocks.

After LLaMA Pro (Wu et al., 2024): the blocks are cut into as many groups as there are new ones,
and each group is followed by a copy of its last block whose two output projections are zero. Both
sums of a residual block then add zero, so the expanded model computes exactly what it did before.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.models.folder import read_json
from engine.problem import BadInput, Problem

# In the config of an expanded model, and in the file beside an adapter whose base was expanded.
KEY = "llama_pro_blocks"
FILE = "block_expansion.json"
_OUTPUTS = ("self_attn.o_proj", "mlp.down_proj")
_SETTING = "use_llama_pro"


def new_positions(blocks: int, added: int) -> tuple[int, ...]:
    """Where `added` new blocks stand once they are spread over `blocks` old ones.

    Raises BadInput unless the old ones can be cut into groups of one size.
    """
    if added < 1 or blocks % added:
        fitting = ", ".join(str(n) for n in range(1, blocks + 1) if blocks % n == 0)
        raise BadInput(
            Problem(
                f"use_llama_pro spreads {added} new blocks evenly, and the model's {blocks} "
                f"blocks can't be cut into {added} groups of one size.",
                "freeze_trainable_layers",
                f"Set freeze_trainable_layers to a number that divides them: {fitting}.",
                "freeze_trainable_layers",
            )
        )
    group = blocks // added
    return tuple((number + 1) * (group + 1) - 1 for number in range(added))


def source_blocks(blocks: int, added: int) -> tuple[int, ...]:
    """The old blocks that the new ones are copied from: the last of each group."""
    return tuple(place - number - 1 for number, place in enumerate(new_positions(blocks, added)))


def expanded_blocks(model: Any, added: int) -> tuple[int, ...] | None:
    """The new blocks of a model that holds `added` of them already; None where it doesn't.

    Such a model was expanded here (its config says so), or by a script of another tool: the
    blocks that would be new ones then write nothing yet.
    """
    told = getattr(model.config.get_text_config(), KEY, None)
    if told is not None and len(told) == added:
        return tuple(int(place) for place in told)
    _, _, blocks = decoder_blocks(model)
    if added < 1 or len(blocks) % added or len(blocks) // added < 2:
        return None
    step = len(blocks) // added
    places = tuple(range(step - 1, len(blocks), step))
    silent = all(
        not weight.any() for place in places for weight in _output_weights(blocks[place], place)
    )
    return places if silent else None


def expand_blocks(model: Any, added: int) -> tuple[int, ...]:
    """Put `added` new blocks into a loaded model, in place; returns where they stand.

    The model's config then has the new number of blocks and names the new ones. Raises BadInput
    for a number that does not fit, and for a model whose blocks have other output projections
    than `self_attn.o_proj` and `mlp.down_proj`.
    """
    import torch

    parent, name, blocks = decoder_blocks(model)
    places = new_positions(len(blocks), added)
    sources = source_blocks(len(blocks), added)
    config = model.config.get_text_config()
    result: list[Any] = []
    for number, block in enumerate(blocks):
        result.append(block)
        if number in sources:
            # The parts of all blocks share one config: what is set on it must reach the copy.
            shared = {id(held): held for held in _configs(model)}
            twin = copy.deepcopy(block, shared)
            for weight in _output_weights(twin, number):
                if not weight.is_floating_point():
                    raise BadInput(_quantised())
                weight.data = torch.zeros_like(weight.data)
            result.append(twin)
    for place, block in enumerate(result):
        for part in block.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = place
    for key, value in list(vars(config).items()):
        if isinstance(value, list) and "layer" in key and len(value) == len(blocks):
            setattr(config, key, _spread(value, sources))
    setattr(parent, name, torch.nn.ModuleList(result))
    config.num_hidden_layers = len(result)
    setattr(config, KEY, list(places))
    return places


def remember_expansion(model: Any, places: Sequence[int]) -> None:
    """Keep with a PeftModel that its base was expanded, so that each save of it says so."""
    model.block_expansion = tuple(places)


def save_expansion(places: Sequence[int], folder: Path) -> None:
    """Write beside an adapter where its base gets new blocks."""
    text = json.dumps({KEY: list(places)}) + "\n"
    (folder / FILE).write_text(text, encoding="utf-8")


def read_expansion(folder: Path) -> tuple[int, ...] | None:
    """Where the base of the adapter in `folder` gets new blocks; None for an ordinary adapter."""
    file = folder / FILE
    if not file.is_file():
        return None
    places = read_json(file).get(KEY)
    if not isinstance(places, list) or not all(isinstance(place, int) for place in places):
        raise BadInput(
            Problem(
                f"{FILE} doesn't say which blocks are new.",
                str(file),
                "Copy the whole adapter again.",
                "adapter_name_or_path",
            )
        )
    return tuple(places)


def expand_as(model: Any, places: Sequence[int], where: Path) -> None:
    """Expand a base as the adapter in `where` was trained on it, unless it is so already."""
    told = getattr(model.config.get_text_config(), KEY, None)
    if told is not None and tuple(told) == tuple(places):
        return
    _, _, blocks = decoder_blocks(model)
    if len(blocks) % max(len(places), 1) or new_positions(len(blocks), len(places)) != tuple(
        places
    ):
        raise BadInput(
            Problem(
                f"The adapter does not fit this base model: its new blocks {list(places)} can't "
                f"stand among {len(blocks)} blocks.",
                str(where),
                "Use the base named in its adapter_config.json.",
                "adapter_name_or_path",
            )
        )
    expand_blocks(model, len(places))


def decoder_blocks(model: Any) -> tuple[Any, str, Any]:
    """The longest list of modules that lies in no other list, its parent, and its name there."""
    import torch

    lists: dict[str, Any] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(outer + ".") for outer in lists)
        if isinstance(module, torch.nn.ModuleList) and len(module) and not inside:
            lists[path] = module
    if not lists:
        raise BadInput(
            Problem(
                "The model has no list of blocks, so none can be added.",
                "model_name_or_path",
                "Switch use_llama_pro off.",
                _SETTING,
            )
        )
    path = max(lists, key=lambda each: len(lists[each]))
    parent, _, name = path.rpartition(".")
    return model.get_submodule(parent), name, lists[path]


def _output_weights(block: Any, number: int) -> list[Any]:
    found = []
    for name in _OUTPUTS:
        try:
            layer = block.get_submodule(name)
        except AttributeError as error:
            raise BadInput(
                Problem(
                    f"Block {number} of the model has no {name}, which LLaMA Pro sets to zero.",
                    "model_name_or_path",
                    "Switch use_llama_pro off, or take a Llama-like model.",
                    _SETTING,
                )
            ) from error
        # Without its adapter, where it has one.
        layer = getattr(layer, "base_layer", layer)
        found += [layer.weight, *([layer.bias] if getattr(layer, "bias", None) is not None else [])]
    return found


def _quantised() -> Problem:
    return Problem(
        "LLaMA Pro copies blocks and sets parts of them to zero, which quantised weights don't "
        "allow.",
        "quantization_bit",
        "Leave quantization_bit empty.",
        "quantization_bit",
    )


def _configs(model: Any) -> list[Any]:
    config = model.config
    return [config, config.get_text_config()]


def _spread(values: list[Any], sources: Sequence[int]) -> list[Any]:
    result = []
    for number, value in enumerate(values):
        result.append(value)
        if number in sources:
            result.append(value)
    return result
