"""Checkpoints that are quantised already: GPTQ, AWQ, AQLM, and what transformers loads by itself.

Their `config.json` says how. An adapter is trained on them as on any frozen weights, where the
library has a backward pass: gptqmodel does in its backend `auto_trainable`, aqlm always.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.installed import install_command
from engine.models.folder import read_json
from engine.problem import BadInput, Problem

# gptqmodel 7.7 asks for a newer torch than the pin of the rest, but runs on this one: no extra.
_GPTQMODEL = (
    "pip install --no-deps gptqmodel optimum pypcre tokenicer logbar device-smi defuser "
    "threadpoolctl"
)
# What each method needs, by the module's name, and the command that brings it.
_NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "gptq": (("gptqmodel", "optimum"), _GPTQMODEL),
    "awq": (("gptqmodel",), _GPTQMODEL),
    "aqlm": (("aqlm",), install_command("aqlm")),
}
# On these peft has no DoRA.
_WITHOUT_DORA = ("gptq", "awq", "aqlm")


def stored_method(folder: Path) -> str:
    """How the weights in `folder` are quantised, by its config.json; empty where they aren't."""
    path = folder / "config.json"
    told = read_json(path).get("quantization_config") if path.is_file() else None
    return str(told.get("quant_method", "unknown")) if isinstance(told, dict) else ""


def check_stored(folder: Path, config: Any, for_training: bool) -> tuple[str, ...]:
    """Sentences to read before a quantised checkpoint is used; none for any other.

    Raises BadInput (rule 41) for what can't be trained on it: full, freeze, DoRA where peft has
    none, PiSSA; and for a package that is missing. No torch.
    """
    method = stored_method(folder)
    if not method:
        return ()
    if for_training:
        _check_method(folder, method, config)
    _check_adapters(folder, method, config)
    modules, command = _NEEDS.get(method, ((), ""))
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise BadInput(
            Problem(
                f"This checkpoint is quantised by {method}, which needs {' and '.join(missing)}.",
                str(folder),
                f"Install it with: {command}",
                "model_name_or_path",
            )
        )
    if config.quantization_bit is None:
        return ()
    return (
        f"The checkpoint is quantised already ({method}): quantization_bit: "
        f"{config.quantization_bit} is ignored.",
    )


def _check_method(folder: Path, method: str, config: Any) -> None:
    kind = config.finetuning_type
    if kind in ("full", "freeze"):
        raise BadInput(
            Problem(
                f"This checkpoint is quantised ({method}), and the method {kind} trains the "
                "weights themselves.",
                str(folder),
                "Set finetuning_type: lora, or take the model in full precision.",
                "finetuning_type",
            )
        )
    for key, word, refused in (
        ("use_dora", "DoRA", method in _WITHOUT_DORA),
        ("pissa_init", "PiSSA", True),
    ):
        if refused and getattr(config, key, False):
            raise BadInput(
                Problem(
                    f"This checkpoint is quantised ({method}), and {word} needs its weights in "
                    "full.",
                    str(folder),
                    f"Switch {key} off, or take the model in full precision.",
                    key,
                )
            )


def _check_adapters(folder: Path, method: str, config: Any) -> None:
    if len(config.adapters) > 1 or (config.adapters and config.create_new_adapter):
        raise BadInput(
            Problem(
                f"This checkpoint is quantised ({method}): an adapter can't be merged into it.",
                str(folder),
                "Keep one adapter, and switch create_new_adapter off.",
                "adapter_name_or_path",
            )
        )


def stored_options(folder: Path, config: Any, device: str, for_training: bool) -> dict[str, Any]:
    """What `from_pretrained` is told about a quantised checkpoint. Raises as `check_stored`."""
    check_stored(folder, config, for_training)
    method = stored_method(folder)
    told = read_json(folder / "config.json")["quantization_config"]
    options: dict[str, Any] = {"device_map": {"": device}}
    if method in ("gptq", "awq"):
        # Read on import; a machine of one or two cores gets one worker, and two are asked for.
        os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(max(2, (os.cpu_count() or 1) // 2)))
    if method == "aqlm" and for_training and device == "cpu":
        _check_codebooks(folder, told)
    if for_training and method in ("gptq", "awq"):
        from transformers import AwqConfig, GPTQConfig

        make: Any = GPTQConfig if method == "gptq" else AwqConfig
        options["quantization_config"] = make(
            bits=int(told.get("bits", 4)), backend="auto_trainable"
        )
    return options


def _check_codebooks(folder: Path, told: dict[str, Any]) -> None:
    """aqlm 1.1 turns 8-bit codes for its CPU kernel; its backward pass reads them unturned."""
    if int(told.get("nbits_per_codebook", 16)) == 8 and int(told.get("out_group_size", 1)) == 1:
        raise BadInput(
            Problem(
                "aqlm can't train a checkpoint with 8-bit codebooks on a CPU: its backward pass "
                "fails there.",
                str(folder),
                "Take one with 16-bit codebooks (1x16), or a GPU.",
                "model_name_or_path",
            )
        )
