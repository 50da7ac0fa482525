"""`value_head.safetensors`: a reward or value head beside a model, as the usual tool writes it.

The file holds `v_head.summary.weight` (1, hidden) and `v_head.summary.bias` (1,). The score of a
row is that linear layer on the model's last hidden state (after the final norm) at the row's last
token; a value head reads every token. A head `score` of transformers' sequence classification is
the same layer without a bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    import torch

FILE = "value_head.safetensors"
WEIGHT = "v_head.summary.weight"
BIAS = "v_head.summary.bias"
_PICKLED = "value_head.bin"


def write_value_head(folder: Path, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Path:
    """Write the head into `folder`; returns the file.

    `weight` is (hidden,) or (1, hidden), `bias` () or (1,), None for a layer without one (zero is
    written, since readers of this file expect both). Types are kept.
    """
    import torch
    from safetensors.torch import save_file

    line = weight.detach().to("cpu").reshape(1, -1)
    shift = torch.zeros(1, dtype=line.dtype) if bias is None else bias.detach().to("cpu")
    file = folder / FILE
    tensors = {
        WEIGHT: line.clone(memory_format=torch.contiguous_format),
        BIAS: shift.reshape(1).clone(),
    }
    save_file(tensors, str(file), metadata={"format": "pt"})
    return file


def read_value_head(folder: Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The head beside a model: weight (1, hidden) and bias (1,) on the CPU; None without a file.

    Raises `BadInput` for a file that is damaged or holds no such head, and for a pickled
    `value_head.bin` (which is never opened: it could run code).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / FILE
    if not file.is_file():
        if (folder / _PICKLED).is_file():
            raise BadInput(
                Problem(
                    "The value head is pickled, and such files can run code: finetui does not "
                    "open them.",
                    str(folder / _PICKLED),
                    f"Save it as {FILE}.",
                )
            )
        return None
    try:
        tensors: dict[str, Any] = load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise BadInput(
            Problem(f"The value head can't be read: {error}.", str(file), "Copy it again.")
        ) from error
    weight, bias = tensors.get(WEIGHT), tensors.get(BIAS)
    if weight is None or weight.dim() != 2 or weight.shape[0] != 1:
        raise BadInput(
            Problem(
                f"The file holds no value head: {WEIGHT} of shape (1, hidden) is missing.",
                str(file),
                "Train the reward model again, or remove the file.",
            )
        )
    if bias is None:
        bias = weight.new_zeros(1)
    return weight, bias.reshape(1)
