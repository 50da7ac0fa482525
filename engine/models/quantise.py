"""Weights held in fewer bits: what the loader is told, and what is replaced after loading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.models.precision import Precision
from engine.models.quantised.bnb import bnb_options, quiet_bitsandbytes, steady_on_cpu
from engine.models.quantised.stored import stored_method, stored_options

_MARKS = ("is_loaded_in_4bit", "is_loaded_in_8bit")


def quantisation_options(
    folder: Path, config: Any, precision: Precision, device: str, for_training: bool
) -> dict[str, Any]:
    """What `from_pretrained` is told about quantising the weights in `folder`.

    A checkpoint that is quantised already is loaded as it is, whatever `quantization_bit` says.
    Raises BadInput for one that can't be trained as `config` says, or needs a missing package.
    """
    quiet_bitsandbytes()
    if stored_method(folder):
        return stored_options(folder, config, device, for_training)
    if config.quantization_bit is None:
        return {}
    if config.quantization_method == "bnb":
        return bnb_options(config, precision, device, for_training)
    # hqq replaces the layers of a loaded model: it waits on the CPU, mapped to its file.
    return {"device_map": {"": "cpu"}}


def quantise_linears(
    model: Any, config: Any, precision: Precision, device: str, for_training: bool
) -> Any:
    """The loaded model with its linear layers quantised where no loader does it."""
    if any(getattr(model, mark, False) for mark in _MARKS):
        steady_on_cpu(model, device, for_training)
        return model
    if getattr(model, "hf_quantizer", None) is not None or config.quantization_bit is None:
        return model
    from engine.models.quantised.hqq import replace_linears

    return replace_linears(model, config.quantization_bit, precision, device)


def all_targets(model: Any) -> str | list[str]:
    """What peft is given for an adapter on every linear layer but the head.

    Its own "all-linear" knows only layers that are torch's `Linear`; those of hqq and of quantised
    checkpoints aren't, and are named.
    """
    import torch

    from engine.models.score_head import has_score_head, score_layer

    if all(isinstance(m, torch.nn.Linear) for m in model.modules() if _shape(m)):
        return "all-linear"
    head = score_layer(model) if has_score_head(model) else model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if module is not head and (isinstance(module, torch.nn.Linear) or _shape(module))
    ]


def count_parameters(model: Any) -> int:
    """Weights of a model as a person counts them: packed ones by what they stand for."""
    packed = {name: shape for name, m in model.named_modules() if (shape := _shape(m))}
    total = sum(rows * columns for rows, columns in packed.values())
    for name, weight in model.named_parameters():
        owner, _, last = name.rpartition(".")
        if owner not in packed or last == "bias":
            total += weight.numel()
    return total


def _shape(module: Any) -> tuple[int, int] | None:
    """(outputs, inputs) of a layer whose weights are packed; None for every other module."""
    state = getattr(getattr(module, "weight", None), "quant_state", None)
    if state is not None:
        return int(state.shape[0]), int(state.shape[1])
    # hqq, gptqmodel (GPTQ, AWQ) and aqlm name their packed tensors so.
    if any(hasattr(module, name) for name in ("W_q", "qweight", "codebooks")):
        return int(module.out_features), int(module.in_features)
    return None


@contextmanager
def unmarked(model: Any) -> Iterator[None]:
    """While the block runs, the model doesn't tell that it is quantised.

    TRL's trainers hold whatever is trained on a model of bitsandbytes in bf16, a reward model's
    head too; the run's precision says fp32.
    """
    holders = [m for m in model.modules() if any(mark in vars(m) for mark in _MARKS)]
    marks = [{mark: vars(m).pop(mark) for mark in _MARKS if mark in vars(m)} for m in holders]
    try:
        yield
    finally:
        for holder, mark in zip(holders, marks, strict=True):
            vars(holder).update(mark)
