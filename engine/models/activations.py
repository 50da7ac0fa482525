"""What the forward pass keeps for the backward pass, by arithmetic over a block's tensors.

Counted as torch 2.13, transformers 5.24 and peft 0.21 keep it (seen with saved-tensor hooks), for
a token of one decoder block:

- the input of every linear layer that has weights to train, or an adapter. Under autocast each
  keeps a rounded copy of its own; otherwise layers that read the same input share it;
- the two factors of the gated product and the input of its activation function;
- queries, keys, values and the result of attention, keys and values repeated for every head (as
  PyTorch's fused kernels take them beside a mask); the scores too where attention is plain;
- each norm's input in fp32, which is the stream itself where that is fp32, and what it normalised
  where the norm's weight is trained.

See Korthikanti et al. (2022), "Reducing Activation Recomputation in Large Transformer Models".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.models.architecture import is_embedding, is_output_layer, layer_of
from engine.models.card import ModelCard
from engine.models.precision import Precision
from engine.models.trainable import frozen_exceptions, lora_parameters, oft_parameters

_FP32 = 4
# Beside what a block keeps, its own backward pass needs the gradients of its widest tensors.
_RECOMPUTED = 1.5


@dataclass(frozen=True)
class Kept:
    """Bytes that are kept for each token: of one whole `block` that is run again, of `all` blocks
    together, and of the `stream` between two blocks."""

    block: float
    all: float
    stream: int


def kept_by_token(
    card: ModelCard, config: Any, precision: Precision, device: str, length: int
) -> Kept:
    """What a token's way through the model keeps, without gradient checkpointing.

    `length` is the length of the rows, for attention that keeps its scores.
    """
    stream = precision.trained_bytes if _whole(config) else precision.weight_bytes
    trains = trained_layers(card, config)
    learning = _block(card, config, precision, device, length, stream, True)
    still = _block(card, config, precision, device, length, stream, False)
    # Below the first trained block nothing needs a gradient.
    above = card.layers - min(trains, default=0)
    return Kept(
        block=learning,
        all=len(trains) * learning + (above - len(trains)) * still,
        stream=card.hidden * stream,
    )


def trained_layers(card: ModelCard, config: Any) -> set[int]:
    """The blocks with weights to train, or an adapter."""
    method = config.finetuning_type
    if method == "freeze":
        found = {layer_of(name) for name in frozen_exceptions(card.shapes, config)}
        return {layer for layer in found if layer is not None}
    return set(range(card.layers))


def checkpointed(kept: Kept, layers: int) -> tuple[float, float]:
    """With checkpointing, a token's bytes while the head is computed, and while a block is run
    again."""
    return layers * kept.stream, layers * kept.stream + _RECOMPUTED * kept.block


def rounded_copies(card: ModelCard, config: Any, precision: Precision, trainable: int) -> int:
    """Bytes of the copies that autocast keeps of fp32 weights until their backward pass."""
    if precision.autocast is None:
        return 0
    if _whole(config) and precision.weights == "fp32":
        return precision.compute_bytes * sum(
            shape[0] * shape[1]
            for name, shape in card.shapes.items()
            if len(shape) == 2 and (card.tied or not is_embedding(name))
        )
    return precision.compute_bytes * trainable


def _whole(config: Any) -> bool:
    return str(config.finetuning_type) == "full"


def _block(
    card: ModelCard,
    config: Any,
    precision: Precision,
    device: str,
    length: int,
    stream: int,
    learns: bool,
) -> float:
    """Bytes that one block keeps for a token; `learns` tells whether it is trained or adapted."""
    number = precision.compute_bytes
    casts = precision.autocast is not None
    queries, keys = card.heads * card.head_dim, card.kv_heads * card.head_dim
    linears = _linears(card)
    learning = _learning(config, linears) if learns else {}
    size = 3.0 * number * card.intermediate
    size += number * _inputs(learning, casts)
    rows_of_cpu = device == "cpu" and config.flash_attn != "disabled"
    # The rows' own attention computes in fp32 on a CPU, unless autocast rounds again.
    wide = _FP32 if rows_of_cpu and not casts else number
    size += 4 * wide * queries + (number * queries if wide != number else 0)
    if config.flash_attn == "disabled":
        size += (_FP32 + number) * card.heads * length
    norms = _norms(card)
    trained_norms = _whole(config) or (config.finetuning_type == "freeze" and learns)
    size += norms * card.hidden * (_FP32 + (stream if trained_norms else 0))
    if any(name.endswith("q_norm.weight") for name in card.shapes):
        size += (queries + keys) * (_FP32 + (number if trained_norms else 0))
    return size + number * _adapter(config, learning)


def _linears(card: ModelCard) -> dict[str, tuple[int, int]]:
    """The linear layers of one block, (outputs, inputs) by name."""
    first = min((n for n in map(layer_of, card.shapes) if n is not None), default=0)
    return {
        name: (shape[0], shape[1])
        for name, shape in card.shapes.items()
        if len(shape) == 2
        and layer_of(name) == first
        and ".experts." not in name
        and not is_embedding(name)
        and not is_output_layer(name)
    }


def _learning(config: Any, linears: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Those of `linears` that are trained or carry an adapter."""
    method = config.finetuning_type
    if method == "lora":
        return {
            n: s for n, s in linears.items() if lora_parameters({n: s}, 1, config.lora_target, None)
        }
    if method == "oft":
        return {n: s for n, s in linears.items() if oft_parameters({n: s}, _without_whole(config))}
    return linears


@dataclass(frozen=True)
class _OftOnly:
    oft_target: str
    oft_rank: int
    oft_block_size: int
    additional_target: None = None


def _without_whole(config: Any) -> _OftOnly:
    return _OftOnly(config.oft_target, config.oft_rank, config.oft_block_size)


def _inputs(learning: dict[str, tuple[int, int]], casts: bool) -> int:
    """Numbers that are kept of the inputs of these layers."""
    if casts:
        return sum(inputs for _, inputs in learning.values())
    sources: dict[str, int] = {}
    for name, (_, inputs) in learning.items():
        sources[_source(name)] = inputs
    return sum(sources.values())


def _source(name: str) -> str:
    """What a layer reads: q, k and v the same, and gate and up; the others their own."""
    module = name.removesuffix(".weight").rpartition(".")[2]
    if module in ("q_proj", "k_proj", "v_proj", "qkv_proj"):
        return "attention"
    if module in ("gate_proj", "up_proj", "gate_up_proj"):
        return "mlp"
    return module


def _adapter(config: Any, learning: dict[str, tuple[int, int]]) -> float:
    """Numbers an adapter keeps of its own."""
    if config.finetuning_type == "oft":
        return float(sum(inputs for _, inputs in learning.values()))
    if config.finetuning_type != "lora":
        return 0.0
    kept = float(config.lora_rank * len(learning))
    if config.lora_dropout:
        # A byte a number for what was dropped.
        kept += 0.5 * sum(inputs for _, inputs in learning.values())
    if config.use_dora:
        kept += 2.0 * sum(outputs for outputs, _ in learning.values())
    return kept


def _norms(card: ModelCard) -> int:
    first = min((n for n in map(layer_of, card.shapes) if n is not None), default=0)
    return sum(
        "norm" in name and len(shape) == 1 and layer_of(name) == first and shape[0] == card.hidden
        for name, shape in card.shapes.items()
    )
