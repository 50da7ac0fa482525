"""HQQ: half-quadratic quantisation without calibration data (Badri and Shaji, 2023), 8 to 1 bits.

transformers 5.24 refuses `HqqConfig`, so the linear layers are replaced here, one by one, by the
library's own. The weights lie mapped to their file meanwhile: at most one layer is there twice.
"""

from __future__ import annotations

from typing import Any

from engine.models.precision import Precision, torch_dtype
from engine.models.quantised_size import HQQ_GROUP
from engine.models.score_head import has_score_head, score_layer
from engine.problem import BadInput, Problem


def replace_linears(model: Any, bits: int, precision: Precision, device: str) -> Any:
    """The model on `device` with its linear layers in `bits` bits, but for the head.

    Groups are 64 weights along the first axis, as the library's authors train with. A layer whose
    weights don't divide into such groups stays as it is. Raises BadInput where there is nothing
    to replace.
    """
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    compute = torch_dtype(precision.autocast or precision.weights)
    head = score_layer(model) if has_score_head(model) else model.get_output_embeddings()
    chosen = [
        name
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear
        and module is not head
        and module.weight.numel() % HQQ_GROUP == 0
    ]
    if not chosen:
        raise BadInput(
            Problem(
                "hqq finds no linear layer in this model to quantise.",
                str(model.config.name_or_path),
                "Set quantization_method: bnb, or leave quantization_bit empty.",
                "quantization_method",
            )
        )
    how = BaseQuantizeConfig(nbits=bits, group_size=HQQ_GROUP, axis=0)
    with torch.no_grad():
        for name in chosen:
            layer = model.get_submodule(name).requires_grad_(False)
            model.set_submodule(name, HQQLinear(layer, how, compute_dtype=compute, device=device))
        if device != "cpu":
            model.to(device)
    return model
