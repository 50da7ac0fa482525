"""Whether a folder is a model that can be loaded, and if not, why: no weights, pickle, adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.models.headers import read_header, weight_files
from engine.problem import BadInput, Problem

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def check_folder(folder: Path) -> None:
    """Raise `BadInput` unless `folder` holds a whole model in safetensors with a tokenizer."""
    if folder.is_file():
        raise BadInput(_file_problem(folder))
    if not folder.is_dir():
        raise BadInput(
            Problem(
                "There is no such model folder.",
                str(folder),
                "Give a folder with config.json and safetensors, a hub id, or `demo`.",
                "model_name_or_path",
            )
        )
    if not (folder / "config.json").is_file():
        raise BadInput(_no_config_problem(folder))
    read_json(folder / "config.json")
    _check_weights(folder)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise BadInput(
            Problem(
                "The model folder has no tokenizer.",
                str(folder),
                "Copy tokenizer.json and tokenizer_config.json of the model it was made from.",
                "model_name_or_path",
            )
        )


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in `file`. Raises `BadInput` with the line where it is malformed."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInput(
            Problem(
                f"{file.name} is not valid JSON: {error.msg}.",
                f"{file}:{error.lineno}",
                "Copy or download the file again.",
            )
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            Problem(f"{file.name} can't be read.", str(file), "Copy or download it again.")
        ) from error
    if not isinstance(content, dict):
        raise BadInput(
            Problem(f"{file.name} should hold a JSON object.", str(file), "Copy it again.")
        )
    return content


def adapter_base(folder: Path) -> str | None:
    """The base model that an adapter folder names; None for a folder that is no adapter."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        return None
    return str(read_json(file).get("base_model_name_or_path") or "")


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter and no model of its own."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def check_adapter(folder: Path) -> None:
    """Raise `BadInput` unless `folder` holds a whole adapter in safetensors."""
    setting = "adapter_name_or_path"
    if not (folder / "adapter_config.json").is_file():
        what = "There is no such adapter folder."
        if folder.is_dir():
            what = "The folder is no adapter: it has no adapter_config.json."
        hint = "Give a run's folder, or one of its checkpoints."
        raise BadInput(Problem(what, str(folder), hint, setting))
    read_json(folder / "adapter_config.json")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        what = "The adapter has no weights: adapter_model.safetensors is missing."
        hint = "Copy the whole folder again."
        if (folder / "adapter_model.bin").is_file():
            what = "The adapter's weights are only there as pickle, which can run code when loaded."
            hint = "Save it again with a peft that writes safetensors, in a place you trust."
        raise BadInput(Problem(what, str(folder), hint, setting))
    if any(".oft_r." in name for name in read_header(weights)):
        what = "The OFT adapter has the form that peft wrote before 0.14, which no longer loads."
        hint = "Train it again; or merge it with a peft below 0.16 and take the whole model."
        raise BadInput(Problem(what, str(folder), hint, setting))


def _check_weights(folder: Path) -> None:
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        named = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise BadInput(
            Problem(
                f"{len(missing)} of {len(files)} weight files are missing: {named}.",
                str(folder),
                "Copy or download the model again.",
                "model_name_or_path",
            )
        )
    for file in files:
        read_header(file)
    if not files:
        raise BadInput(_no_weights_problem(folder))


def _no_weights_problem(folder: Path) -> Problem:
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles:
        return Problem(
            f"The weights are only there as pickle ({pickles[0]}), which can run code when loaded.",
            str(folder / pickles[0]),
            "Take the model's safetensors, or convert it in a place you trust: "
            "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR).",
            "model_name_or_path",
        )
    if any(folder.glob("*.gguf")):
        return Problem(
            "The folder holds a GGUF and no safetensors; a GGUF can't be trained.",
            str(folder),
            "Take the model's safetensors.",
            "model_name_or_path",
        )
    base = adapter_base(folder)
    if base is not None:
        return _adapter_problem(folder, base)
    return Problem(
        "The model folder has no weights.",
        str(folder),
        "It should hold model.safetensors, or its shards with model.safetensors.index.json.",
        "model_name_or_path",
    )


def _no_config_problem(folder: Path) -> Problem:
    base = adapter_base(folder)
    if base is not None:
        return _adapter_problem(folder, base)
    inside = sorted(child.name for child in folder.iterdir() if (child / "config.json").is_file())
    hint = "Give the folder that holds config.json and the weights."
    if inside:
        hint = f"Did you mean {folder / inside[0]}?"
    return Problem("The folder has no config.json.", str(folder), hint, "model_name_or_path")


def _adapter_problem(folder: Path, base: str) -> Problem:
    named = base or "the model it was trained on"
    return Problem(
        f"This is an adapter, not a model: it needs its base, {named}.",
        str(folder),
        f"Set model_name_or_path to {named} and adapter_name_or_path to this folder.",
        "model_name_or_path",
    )


def _file_problem(file: Path) -> Problem:
    what = "A model is a folder, and this is a file."
    if file.suffix == ".gguf":
        what = "A GGUF can't be trained."
    return Problem(
        what,
        str(file),
        "Give the folder with config.json and safetensors.",
        "model_name_or_path",
    )
