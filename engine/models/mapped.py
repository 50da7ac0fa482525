"""Weights that lie in their file, mapped: good while all of them are needed as they are."""

from __future__ import annotations

from typing import Any


def let_file_go(model: Any) -> None:
    """Copy what is still mapped of a model whose linear layers were quantised.

    Its embeddings and norms alone would keep the whole file mapped, every page of it resident since
    the layers were read from there: on a CPU as much memory as the unquantised model.
    """
    import torch

    for weight in model.parameters():
        # Packed weights have a class of their own, and memory of their own.
        if type(weight) is torch.nn.Parameter and weight.device.type == "cpu":
            weight.data = weight.data.clone()
