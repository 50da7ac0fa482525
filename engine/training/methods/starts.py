"""First values of a LoRA adapter: PiSSA's largest directions, LoftQ's correction of 4 bits.

`engine.models.adapter_start` tells what becomes of them when the adapter is saved and loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.adapter_start import Start, read_start, remember_start, take_out, without
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    import torch

    from engine.config import RunConfig

_PREFIX = "base_model.model."


def set_start(model: Any, config: RunConfig, resumed: Path | None = None) -> None:
    """Give a new LoRA adapter the first values that the settings ask for, in place.

    Those of the checkpoint `resumed` where the run goes on from one. Raises BadInput for layers
    that can't start so.
    """
    if not (config.pissa_init or config.loftq_init):
        return
    kept = read_start(resumed) if resumed is not None else None
    if kept is not None and resumed is not None:
        bare = _Bare({module: layer.get_base_layer() for layer, _, module in _layers(model)})
        take_out(bare, kept, resumed)
        remember_start(model, kept)
    elif config.pissa_init:
        remember_start(model, _pissa(model, config))
    else:
        remember_start(model, _loftq(model))


def principal(weight: torch.Tensor, rank: int, rounds: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `rank` largest singular directions of `weight` (out, in) as A (rank, in), B (out, rank).

    B·A is their part of the weight, its singular values shared evenly between both. `rounds` of
    subspace iteration (Halko et al., 2009), or the exact decomposition where negative. A rank
    above the weight's own is filled with zeros.
    """
    import torch

    width = min(rank, *weight.shape)
    weight = weight.float()
    if rounds < 0:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        left, values, right = left[:, :width], values[:width], right[:width]
    else:
        left, values, across = torch.svd_lowrank(weight, q=width, niter=rounds)
        right = across.T
    roots = values.sqrt()
    a = weight.new_zeros(rank, weight.shape[1])
    b = weight.new_zeros(weight.shape[0], rank)
    a[:width] = roots[:, None] * right
    b[:, :width] = left * roots
    return a, b


def _pissa(model: Any, config: RunConfig) -> Start:
    """PiSSA: A and B begin as the principal part of W / s, and W keeps the rest."""

    def halves(layer: Any, name: str, module: str) -> tuple[Any, Any]:
        weight = _plain_weight(layer, module)
        scale = layer.scaling[name]
        turned = weight.T if layer.fan_in_fan_out else weight
        return principal(turned / scale, layer.r[name], config.pissa_iter)

    _refuse_shared_head(model)
    (name,) = model.active_adapters
    rounds = config.pissa_iter
    kind = "pissa" if rounds < 0 else f"pissa_niter_{rounds}"
    model.peft_config[name].init_lora_weights = kind
    start = _fill(model, "pissa", halves)
    for layer, name, module in _layers(model):
        a, b = start.halves[module]
        base = layer.get_base_layer()
        base.weight.data = without(
            base.weight.data, a, b, layer.scaling[name], layer.fan_in_fan_out
        )
    return start


def _loftq(model: Any) -> Start:
    """LoftQ with one step: Q is the base as it is held in 4 bits, and s·B·A the best correction
    of W − Q. The paper's further steps would change Q itself, which every loader makes anew."""
    from bitsandbytes.functional import dequantize_4bit

    read = _originals(model)

    def halves(layer: Any, name: str, module: str) -> tuple[Any, Any]:
        weight = layer.get_base_layer().weight
        if type(weight).__name__ != "Params4bit":
            raise BadInput(
                Problem(
                    f"LoftQ corrects 4-bit weights, and {module} is not held in 4 bits.",
                    "loftq_init",
                    "Take it out of lora_target, or switch loftq_init off.",
                    "loftq_init",
                )
            )
        held = dequantize_4bit(weight.data, weight.quant_state).float()
        lost = read(module).to(held.device).float() - held
        return principal(lost / layer.scaling[name], layer.r[name], -1)

    start = _fill(model, "loftq", halves)
    for layer, name, _ in _layers(model):
        magnitude = layer.lora_magnitude_vector
        if name in magnitude:
            # DoRA's rows begin as long as they are with the correction.
            lora_a, lora_b = layer.lora_A[name].weight, layer.lora_B[name].weight
            magnitude[name].update_layer(
                base_layer=layer.get_base_layer(),
                lora_A=lora_a.data,
                lora_B=lora_b.data,
                scaling=layer.scaling[name],
            )
    return start


def _fill(model: Any, kind: Any, halves: Callable[[Any, str, str], tuple[Any, Any]]) -> Start:
    """Put each layer's halves into its adapter; returns them as the adapter holds them."""
    held: dict[str, tuple[Any, Any]] = {}
    for layer, name, module in _layers(model):
        a, b = halves(layer, name, module)
        for half, place in ((a, layer.lora_A[name]), (b, layer.lora_B[name])):
            place.weight.data = half.to(place.weight.device, place.weight.dtype).contiguous()
        held[module] = (
            layer.lora_A[name].weight.detach().cpu().clone(),
            layer.lora_B[name].weight.detach().cpu().clone(),
        )
    return Start(kind, _described(model), held)


class _Bare:
    """The base's layers by their names, without the adapter around them."""

    def __init__(self, layers: dict[str, Any]) -> None:
        self._layers = layers

    def get_submodule(self, name: str) -> Any:
        if name not in self._layers:
            raise AttributeError(name)
        return self._layers[name]


def _layers(model: Any) -> Iterator[tuple[Any, str, str]]:
    """Each LoRA layer with its adapter's name and the name of its module in the base."""
    from peft.tuners.lora import LoraLayer

    (name,) = model.active_adapters
    for path, layer in model.named_modules():
        if isinstance(layer, LoraLayer) and name in layer.r:
            module = path.removeprefix(_PREFIX)
            if name not in layer.lora_A:
                raise BadInput(
                    Problem(
                        f"{module} is no linear layer: an adapter on it starts with zero only.",
                        "lora_target",
                        "Take it out of lora_target; additional_target trains it whole.",
                        "lora_target",
                    )
                )
            yield layer, name, module


def _described(model: Any) -> dict[str, Any]:
    (name,) = model.active_adapters
    described: dict[str, Any] = model.peft_config[name].to_dict()
    return described


def _plain_weight(layer: Any, module: str) -> Any:
    weight = layer.get_base_layer().weight
    if not weight.is_floating_point():
        raise BadInput(
            Problem(
                f"PiSSA takes its start out of the weights, and {module} is quantised.",
                "pissa_init",
                "Take the unquantised model, or switch pissa_init off.",
                "pissa_init",
            )
        )
    return weight.detach()


def _refuse_shared_head(model: Any) -> None:
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embedding is None:
        return
    base = getattr(head, "base_layer", None)
    if base is not None and base.weight is embedding.weight:
        raise BadInput(
            Problem(
                "The output head shares its weight with the embedding: PiSSA can't take its start "
                "out of one without the other.",
                "lora_target",
                "Take the head out of lora_target.",
                "lora_target",
            )
        )


def _originals(model: Any) -> Callable[[str], Any]:
    """Reads a module's weight as it is stored in the model's folder, before any quantisation."""
    from safetensors import safe_open

    from engine.models.headers import read_header, weight_files

    folder = Path(model.config.name_or_path)
    files = {name: file for file in weight_files(folder) for name in read_header(file)}

    def read(module: str) -> Any:
        name = f"{module}.weight"
        if name not in files:
            raise BadInput(
                Problem(
                    f"LoftQ compares with the stored weights, and there is no {name} among them.",
                    str(folder),
                    "Switch loftq_init off.",
                    "loftq_init",
                )
            )
        with safe_open(str(files[name]), framework="pt") as opened:
            return opened.get_tensor(name)

    return read
