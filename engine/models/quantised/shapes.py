"""What packed tensors stand for: the weights of a quantised checkpoint as if they were whole.

The layouts are those of the formats: GPTQ packs along the inputs and AWQ along the outputs, both
into int32; AQLM stores one code a group of inputs; bitsandbytes two 4-bit numbers a byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.models.headers import TensorInfo

Shapes = dict[str, tuple[int, ...]]
_WORD = 32
# Beside the packed weights: scales, zeros, permutations, tables.
_CONSTANTS = (
    "qzeros",
    "scales",
    "g_idx",
    "codebooks",
    "SCB",
    "weight_format",
    "weight_scale",
    "weight_scale_inv",
)


def whole_shapes(tensors: Mapping[str, TensorInfo], told: Mapping[str, Any]) -> Shapes:
    """The shape of each weight that `tensors` hold, packed by `told` (its quantization_config).

    A 4-bit weight of bitsandbytes is told by its count alone, as its shape stands in the data.
    """
    method, bits = str(told.get("quant_method", "")), int(told.get("bits") or 4)
    found: Shapes = {}
    for name, info in tensors.items():
        layer, _, last = name.rpartition(".")
        if last in _CONSTANTS or ".weight." in name:
            continue
        if last == "qweight" and len(info.shape) == 2:
            rows, columns = info.shape
            if method == "awq":
                found[f"{layer}.weight"] = (columns * _WORD // bits, rows)
            else:
                found[f"{layer}.weight"] = (columns, rows * _WORD // bits)
        elif last == "codes" and len(info.shape) == 3:
            outputs = info.shape[0] * int(told.get("out_group_size", 1))
            found[f"{layer}.weight"] = (outputs, info.shape[1] * int(told.get("in_group_size", 8)))
        elif info.dtype == "U8" and len(info.shape) == 2 and info.shape[1] == 1:
            found[name] = (2 * info.elements,)
        else:
            found[name] = info.shape
    return found
