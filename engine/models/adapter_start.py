"""Adapters that begin with more than zero: their first values, kept beside them.

PiSSA (Meng et al., 2024) takes its start out of the base: W − s·B₀·A₀ stays frozen, and s·B·A is
trained. LoftQ (Li et al., 2023) starts with what 4-bit quantisation lost, W − Q ≈ s·B₀·A₀. Either
way the trained change of the unquantised weight is s·(B·A − B₀·A₀), so A₀ and B₀ are saved with
each adapter, in `pissa_init/` or `loftq_init/`: a base is made ready from them, exactly as it was
in training, and no decomposition is ever repeated.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.models.folder import read_json
from engine.problem import BadInput, Problem
from engine.runs.atomic import settle

Kind = Literal["pissa", "loftq"]
FOLDERS: dict[Kind, str] = {"pissa": "pissa_init", "loftq": "loftq_init"}
CONVERTED = "pissa_converted"
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Start:
    """The first values of an adapter, by module of the base: A (rank, in) and B (out, rank).

    `config` is the adapter's description as peft writes it.
    """

    kind: Kind
    config: Mapping[str, Any]
    halves: Mapping[str, tuple[Any, Any]]

    def scale(self, module: str) -> float:
        """s = alpha / rank, or alpha / √rank for rsLoRA."""
        return adapter_scale(self.config, module, int(self.halves[module][0].shape[0]))


def adapter_scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What B·A is multiplied by in `module`, as peft 0.21 computes it."""
    from peft.utils.other import get_pattern_key

    pattern = config.get("alpha_pattern") or {}
    alpha = pattern.get(get_pattern_key(list(pattern), module), config.get("lora_alpha", 8))
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def read_start(adapter: Path) -> Start | None:
    """The first values saved beside the adapter in `adapter`; None for one that has none."""
    from safetensors.torch import load_file

    for kind, name in FOLDERS.items():
        weights = adapter / name / "adapter_model.safetensors"
        if not weights.is_file():
            continue
        halves: dict[str, list[Any]] = {}
        for key, tensor in load_file(weights).items():
            for place, ending in enumerate((_A, _B)):
                if key.endswith(ending):
                    module = key.removeprefix(_PREFIX).removesuffix(ending)
                    halves.setdefault(module, [None, None])[place] = tensor
        if not halves or any(half is None for pair in halves.values() for half in pair):
            raise BadInput(
                Problem(
                    f"The adapter's first values are incomplete: {name} lacks one half.",
                    str(weights),
                    "Copy the whole adapter again.",
                    "adapter_name_or_path",
                )
            )
        config = read_json(adapter / "adapter_config.json")
        return Start(kind, config, {module: (a, b) for module, (a, b) in halves.items()})
    return None


def began_as_pissa(config: Mapping[str, Any]) -> bool:
    """Whether an adapter's description says that its start was taken out of the base."""
    return str(config.get("init_lora_weights")).lower().startswith("pissa")


def without(weight: Any, a: Any, b: Any, scale: float, transposed: bool = False) -> Any:
    """`weight` − scale·B·A, summed in fp32 and rounded once to the type of `weight`."""
    device = weight.device
    product = scale * (b.to(device).float() @ a.to(device).float())
    return (weight.float() - (product.T if transposed else product)).to(weight.dtype)


def take_out(model: Any, start: Start, where: Path) -> None:
    """Make a loaded base ready for an adapter with this start, in place.

    PiSSA's start is subtracted; LoftQ's too, unless the base is held in 4 bits, as it was in
    training. Raises BadInput for a base that can't be changed so.
    """
    import torch

    transposed = bool(start.config.get("fan_in_fan_out"))
    for module, (a, b) in start.halves.items():
        try:
            layer = model.get_submodule(module)
        except AttributeError as error:
            raise BadInput(_misfit(module, where)) from error
        weight = layer.weight
        if start.kind == "loftq" and type(weight).__name__ == "Params4bit":
            continue
        if not weight.is_floating_point() or type(weight) is not torch.nn.Parameter:
            raise BadInput(_quantised(start.kind, where))
        rows, columns = int(b.shape[0]), int(a.shape[1])
        if tuple(weight.shape) != ((columns, rows) if transposed else (rows, columns)):
            raise BadInput(_misfit(module, where))
        weight.data = without(weight.data, a, b, start.scale(module), transposed)


@contextmanager
def same_decomposition() -> Iterator[None]:
    """Inside, peft's random decomposition comes out the same each time.

    An adapter of another tool that began as PiSSA has no first values beside it: peft then makes
    them again while it loads, from random projections.
    """
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def start_of(model: Any) -> Start | None:
    """The start of the adapter that a PeftModel trains; None where it began as plain LoRA."""
    return getattr(model, "adapter_start", None)


def remember_start(model: Any, start: Start) -> None:
    """Keep a start with its PeftModel, so that each save of the model holds it too.

    The description of a PiSSA adapter says that it is one: peft alone then makes its base ready
    as well as it can, by decomposing it again.
    """
    model.adapter_start = start
    if start.kind == "pissa":
        (name,) = model.active_adapters
        model.peft_config[name].init_lora_weights = start.config["init_lora_weights"]


def save_start(start: Start, into: Path) -> Path:
    """Write the first values as an adapter of their own into `into`; returns its folder."""
    folder = into / FOLDERS[start.kind]
    tensors = {}
    for module, (a, b) in start.halves.items():
        tensors[f"{_PREFIX}{module}{_A}"] = a
        tensors[f"{_PREFIX}{module}{_B}"] = b
    write_adapter(folder, tensors, {**start.config, "init_lora_weights": True})
    return folder


def write_adapter(folder: Path, tensors: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """An adapter folder as peft writes it, whole or absent."""
    from safetensors.torch import save_file

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    save_file(kept, partial / "adapter_model.safetensors", metadata={"format": "pt"})
    text = json.dumps(dict(config), indent=2, sort_keys=True, default=_plain) + "\n"
    (partial / "adapter_config.json").write_text(text, encoding="utf-8")
    for file in partial.iterdir():
        settle(file)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", str(value))


def _misfit(module: str, where: Path) -> Problem:
    return Problem(
        f"The adapter does not fit this base model: {module} differs.",
        str(where),
        "Use the base named in its adapter_config.json.",
        "adapter_name_or_path",
    )


def _quantised(kind: str, where: Path) -> Problem:
    if kind == "pissa":
        return Problem(
            "A PiSSA adapter takes its start out of the base, which quantised weights don't allow.",
            str(where),
            f"Leave quantization_bit empty, or use its folder {CONVERTED} (pissa_convert).",
            "adapter_name_or_path",
        )
    return Problem(
        "A LoftQ adapter goes with its base in 4 bits by bitsandbytes, or unquantised.",
        str(where),
        "Set quantization_bit: 4, or leave it empty.",
        "quantization_bit",
    )
