"""What a model's weights take in fewer bits, by arithmetic over its tensors: no torch.

The linear layers are quantised; embeddings, norms, biases and the output head stay as they are.
The constants beside the packed weights follow bitsandbytes 0.50 (absmax in blocks of 64, doubly
quantised in blocks of 256; int8 with one scale an output row) and hqq 0.2.8 (groups of 64 along
the first axis with a scale and a zero each). A test compares them with models that were loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.models.architecture import count, is_embedding, is_output_layer
from engine.models.card import ModelCard
from engine.models.precision import Precision

BNB_BLOCK = 64
BNB_NESTED_BLOCK = 256
HQQ_GROUP = 64
_FLOAT = 4
# Tables that bitsandbytes keeps with every 4-bit tensor: 16 values, and 256 more with an offset
# where the scales are quantised too.
_FOUR_BIT_TABLE = 16 * _FLOAT
_NESTED_TABLE = 256 * _FLOAT + _FLOAT
# Bytes of one column of 64 weights in hqq's packing; three bits go ten to an int32.
_HQQ_COLUMN = {8: 64, 6: 64, 5: 64, 4: 32, 3: 28, 2: 16, 1: 8}


@dataclass(frozen=True)
class QuantisationEffect:
    """What one way of holding the weights costs: `bytes` of all weights together.

    `method` is "" where nothing is quantised. `kept` are the bytes of tensors that stay as they
    are.
    """

    method: str
    bits: int | None
    kind: str
    bytes: int
    kept: int

    @property
    def name(self) -> str:
        """As a person says it: 4-bit nf4, hqq 3-bit, as they are."""
        if self.bits is None:
            return "as they are"
        return f"{self.bits}-bit {self.kind}".strip()


def quantised_weight_bytes(card: ModelCard, config: Any, precision: Precision) -> int:
    """Bytes of the model's frozen weights as `config` holds them, adapters left out.

    For a checkpoint that is quantised already it is the size of its files, whatever
    `quantization_bit` says; without either all weights count in `precision.weights`.
    """
    if card.quantised:
        return card.size_bytes
    return _bytes_of(
        card,
        precision,
        str(config.quantization_method),
        config.quantization_bit,
        bool(config.double_quantization),
    )


def quantisation_effect(
    card: ModelCard, config: Any, precision: Precision
) -> list[QuantisationEffect]:
    """Every way to hold this model's weights with its size, unquantised first.

    For a checkpoint that is quantised already there is one way only: its own.
    """
    if card.quantised:
        return [QuantisationEffect(card.quantised, None, "", card.size_bytes, 0)]
    linear = set(quantised_tensors(card))
    kept = precision.weight_bytes * sum(
        count(shape) for name, shape in card.shapes.items() if name not in linear
    )
    plain = _bytes_of(card, precision, "bnb", None, False)
    found = [QuantisationEffect("", None, "", plain, plain)]
    double = bool(config.double_quantization)
    ways = [("bnb", 8, "int8"), ("bnb", 4, "nf4"), ("bnb", 4, "fp4")]
    ways += [("hqq", bits, "hqq") for bits in (8, 4, 3, 2, 1)]
    for method, bits, kind in ways:
        size = _bytes_of(card, precision, method, bits, double)
        found.append(QuantisationEffect(method, bits, kind, size, kept))
    return found


def quantised_tensors(card: ModelCard) -> list[str]:
    """Names of the tensors that loading quantises: the weights of linear layers but the head."""
    return list(_linear_names(card))


def _linear_names(card: ModelCard) -> Iterable[str]:
    for name, shape in card.shapes.items():
        parts = name.split(".")
        if len(shape) != 2 or parts[-1] != "weight":
            continue
        if is_embedding(name) or "embed" in parts[-2] or is_output_layer(name):
            continue
        # Expert stacks and routers are parameters, not linear layers; a reward head is kept.
        if "experts" in parts or parts[-2] in ("gate", "router", "score"):
            continue
        yield name


def _bytes_of(
    card: ModelCard, precision: Precision, method: str, bits: int | None, double: bool
) -> int:
    linear = set(_linear_names(card)) if bits is not None else set()
    total = 0
    for name, shape in card.shapes.items():
        if name in linear:
            total += _tensor_bytes(shape, precision, method, bits or 0, double)
        else:
            total += count(shape) * precision.weight_bytes
    return total


def _tensor_bytes(
    shape: tuple[int, ...], precision: Precision, method: str, bits: int, double: bool
) -> int:
    elements = count(shape)
    if method == "hqq":
        if elements % HQQ_GROUP:
            return elements * precision.weight_bytes
        # Scale and zero are held in the type that the layer computes in.
        columns = elements // HQQ_GROUP
        return columns * (_HQQ_COLUMN[bits] + 2 * precision.compute_bytes)
    if bits == 8:
        return elements + shape[0] * _FLOAT
    blocks = -(-elements // BNB_BLOCK)
    size = -(-elements // 2) + _FOUR_BIT_TABLE
    if not double:
        return size + blocks * _FLOAT
    return size + blocks + -(-blocks // BNB_NESTED_BLOCK) * _FLOAT + _NESTED_TABLE
