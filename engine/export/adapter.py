"""An adapter's file read as what it does to each weight of its base.

LoRA (Hu et al., 2021) adds scale · B·A to a weight, with scale = alpha / r, or alpha / √r for
rsLoRA. Names and orientation are those of peft 0.21 (`tuners/lora/layer.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.models.adapter_start import Start, adapter_scale, read_start
from engine.models.blocks import read_expansion
from engine.models.folder import read_json
from engine.models.headers import TensorInfo
from engine.problem import BadInput, Problem

_PREFIX = "base_model.model."
# Ways of starting or shaping an adapter that change more than B·A says.
_NOT_BY_TENSOR = (
    "use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "layer_replication",
    "trainable_token_indices", "target_parameters", "lora_bias", "arrow_config", "kasa_config",
    "monteclora_config", "velora_config", "megatron_config", "ensure_weight_tying",
)  # fmt: skip
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
_PAIRS = {
    ".lora_A.weight": ("a", False),
    ".lora_B.weight": ("b", False),
    ".lora_embedding_A": ("a", True),
    ".lora_embedding_B": ("b", True),
}


class NotByTensor(Exception):
    """The adapter can't be merged weight by weight; the text says why."""


@dataclass
class LowRank:
    """scale · B·A, transposed where the weight stands (in, out). `a` (r, in), `b` (out, r)."""

    scale: float
    transposed: bool
    a: Any = None
    b: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        rows, columns = int(self.b.shape[0]), int(self.a.shape[1])
        return (columns, rows) if self.transposed else (rows, columns)

    def delta(self, device: str) -> Any:
        """The update in fp32, in peft's order of operations."""
        product = self.b.to(device).float() @ self.a.to(device).float()
        return (product.T if self.transposed else product) * self.scale


@dataclass
class Changes:
    """What one adapter does: weights that it brings whole, and updates added to weights."""

    folder: Path
    replaced: dict[str, Any] = field(default_factory=dict)
    added: dict[str, LowRank] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return {*self.replaced, *self.added}


def read_changes(folder: Path) -> Changes:
    """Read the adapter in `folder`; names are those of the base's weights.

    Raises NotByTensor for one that only peft itself can merge, BadInput for a broken one.
    """
    from safetensors.torch import load_file

    config = read_json(folder / "adapter_config.json")
    start = read_start(folder)
    _refuse_special(config, start)
    if read_expansion(folder) is not None:
        raise NotByTensor("it adds blocks to its base")
    changes = Changes(folder)
    for stored, tensor in load_file(folder / "adapter_model.safetensors").items():
        name = stored.removeprefix(_PREFIX)
        ending = next((end for end in _PAIRS if name.endswith(end)), None)
        if ending is None:
            if "lora_" in name:
                raise NotByTensor(f"it holds {name}")
            changes.replaced[_base_name(name)] = tensor
            continue
        side, embedding = _PAIRS[ending]
        if tensor.ndim != 2:
            raise NotByTensor(f"{name} is a convolution")
        module = _base_name(name.removesuffix(ending))
        pair = changes.added.setdefault(
            f"{module}.weight", LowRank(0.0, embedding or bool(config.get("fan_in_fan_out")))
        )
        setattr(pair, side, tensor)
        if side == "a":
            pair.scale = adapter_scale(config, module, int(tensor.shape[0]))
    for name, pair in changes.added.items():
        if pair.a is None or pair.b is None or pair.a.shape[0] != pair.b.shape[1]:
            raise BadInput(
                Problem(
                    f"The adapter is incomplete: its halves for {name} don't belong together.",
                    str(folder),
                    "Copy the whole adapter again.",
                    "adapter_name_or_path",
                )
            )
    if start is not None:
        _subtract(changes, start)
    return changes


def _subtract(changes: Changes, start: Start) -> None:
    """What an adapter adds to the unchanged base: s·(B·A − B₀·A₀), as one pair of halves."""
    import torch

    for module, (a, b) in start.halves.items():
        pair = changes.added.get(f"{module}.weight")
        if pair is not None:
            pair.a = torch.cat([pair.a.float(), a.float()])
            pair.b = torch.cat([pair.b.float(), -b.float()], dim=1)


def check_fit(changes: Changes, shapes: Mapping[str, TensorInfo]) -> None:
    """Raise BadInput where a shape differs from the base's, NotByTensor where a name is unknown."""
    for name in sorted(changes.names):
        if name not in shapes:
            raise NotByTensor(f"the base stores no {name}")
        base = shapes[name].shape
        if name in changes.added:
            shape = changes.added[name].shape
            fits = shape == base
        else:
            shape = tuple(changes.replaced[name].shape)
            # An embedding that is brought whole may have more rows: a grown vocabulary.
            fits = len(shape) == len(base) and shape[1:] == base[1:]
        if not fits:
            raise BadInput(
                Problem(
                    f"The adapter does not fit this base model: {name} is {list(shape)} in the "
                    f"adapter and {list(base)} in the base.",
                    str(changes.folder),
                    "Use the base named in its adapter_config.json.",
                    "adapter_name_or_path",
                )
            )


def _refuse_special(config: Mapping[str, Any], start: Start | None) -> None:
    if config.get("peft_type") != "LORA":
        raise NotByTensor(f"it is of the kind {config.get('peft_type')}")
    for name in _NOT_BY_TENSOR:
        if config.get(name):
            raise NotByTensor(f"it uses {name}")
    if start is None and config.get("init_lora_weights") not in _PLAIN_STARTS:
        raise NotByTensor(f"it was started by {config['init_lora_weights']}")


def _base_name(name: str) -> str:
    """The weight's name in the base, without the wrappers that peft puts around modules."""
    return name.replace(".base_layer", "").replace(".modules_to_save", "")
