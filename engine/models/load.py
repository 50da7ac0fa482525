"""A checked folder turned into a tokenizer and a model. torch and transformers live in here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.folder import check_adapter
from engine.models.precision import Precision
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_ATTENTION = {"auto": "sdpa", "sdpa": "sdpa", "disabled": "eager"}


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder; one without a padding token pads with its end token.

    Raises `BadInput` where the tokenizer's files can't be used.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(
            Problem(
                f"The tokenizer can't be loaded: {_first_line(error)}",
                str(folder),
                _code_hint(error) or "Copy tokenizer.json and tokenizer_config.json again.",
                "model_name_or_path",
            )
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded: PreTrainedTokenizerFast = tokenizer
    return loaded


def load_model(
    folder: Path, config: Any, precision: Precision, device: str, for_training: bool
) -> PreTrainedModel:
    """The model in `precision.weights` on `device`, in eval mode, from safetensors only.

    Weights that are stored in the wanted type stay mapped to the file on a CPU. Which weights are
    trained is the method's business: `requires_grad` is left as it comes. Raises `BadInput` for an
    architecture that transformers does not know, or one whose code is not trusted.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {
        "dtype": torch_dtype(precision.weights),
        "attn_implementation": _ATTENTION[config.flash_attn],
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": bool(config.trust_remote_code),
    }
    if device != "cpu":
        options["device_map"] = {"": device}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(folder), **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(_model_problem(error, folder)) from error
    model.config.use_cache = bool(config.use_kv_cache) and not for_training
    model.eval()
    loaded: PreTrainedModel = model
    return loaded


def load_with_adapter(
    folder: Path,
    adapters: str | Path | list[Path],
    config: Any,
    precision: Precision,
    device: str,
    trainable: bool,
) -> Any:
    """Base plus adapter as a `PeftModel`; several adapters are merged in order but for the last.

    `adapters` is a path, several, or a comma list of them. With `trainable` the last one's weights
    train on, in fp32 unless `precision.trained` is bf16. Raises `BadInput` for a folder that is no
    adapter, or one that does not fit this base.
    """
    folders = adapter_folders(adapters)
    for adapter in folders:
        check_adapter(adapter)
    model: Any = load_model(folder, config, precision, device, for_training=trainable)
    return attach_adapters(model, folders, precision, trainable)


def attach_adapters(model: Any, folders: list[Path], precision: Precision, trainable: bool) -> Any:
    """The adapters in `folders` put onto a loaded base; all but the last are merged into it."""
    from peft import PeftModel

    for position, adapter in enumerate(folders):
        last = position == len(folders) - 1
        try:
            model = PeftModel.from_pretrained(
                model,
                str(adapter),
                is_trainable=trainable and last,
                autocast_adapter_dtype=precision.trained == "fp32" and trainable,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, KeyError, OSError, TypeError) as error:
            if "size mismatch" in str(error) or "not found in the base model" in str(error):
                what = "The adapter does not fit this base model: its shapes or modules differ."
            else:
                what = f"The adapter can't be loaded: {_first_line(error)}"
            raise BadInput(
                Problem(
                    what,
                    str(adapter),
                    "Use the base named in its adapter_config.json.",
                    "adapter_name_or_path",
                )
            ) from error
        if not last:
            model = model.merge_and_unload()
    if not trainable:
        model.eval()
    return model


def adapter_folders(adapters: str | Path | list[Path]) -> list[Path]:
    """Paths from what adapter_name_or_path holds: one, several by comma, or a list."""
    if isinstance(adapters, Path):
        return [adapters]
    if isinstance(adapters, str):
        return [Path(part.strip()).expanduser() for part in adapters.split(",") if part.strip()]
    return list(adapters)


def torch_dtype(name: str) -> Any:
    """torch's type for "bf16", "fp16" or "fp32"."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def _model_problem(error: BaseException, folder: Path) -> Problem:
    return Problem(
        f"The model can't be loaded: {_first_line(error)}",
        str(folder),
        _code_hint(error) or "Look whether this version of transformers knows its architecture.",
        "model_name_or_path",
    )


def _code_hint(error: BaseException) -> str:
    if "trust_remote_code" in str(error):
        return "The model brings code of its own: read it, then set trust_remote_code: true."
    return ""


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line[:300] + ("" if line.endswith((".", "!", "?")) else ".")
