"""The head `score` of a reward model: one number for a row, read at the row's last token.

transformers calls such a model sequence classification with one label. Its own forward takes the
last token that is not the padding token, so a row that ends with the token used for padding (as
many do) would be read one token early. Here the place is given, and the head runs in fp32 whatever
the model computes in: bf16 tells rewards apart to three digits only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.folder import read_json
from engine.models.headers import read_header, weight_files
from engine.models.value_head import FILE
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    import torch

SCORE = "score"
_TASK = "SEQ_CLS"
_ARCHITECTURE = "ForSequenceClassification"


# -- folders: no torch ---------------------------------------------------------------------


def is_reward_model(folder: Path) -> bool:
    """Whether a model or adapter folder says that it scores rows instead of writing text."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        return read_json(adapter).get("task_type") == _TASK
    config = folder / "config.json"
    if not config.is_file():
        return False
    kinds = read_json(config).get("architectures") or ()
    return any(str(kind).endswith(_ARCHITECTURE) for kind in kinds)


def holds_head(folder: Path) -> bool:
    """Whether a model or adapter folder brings a head: among its weights, or in a file beside."""
    if (folder / FILE).is_file():
        return True
    files = [folder / "adapter_model.safetensors"]
    if not files[0].is_file():
        files = weight_files(folder)
    return any(
        name.endswith(f"{SCORE}.weight")
        for file in files
        if file.is_file()
        for name in read_header(file)
    )


def refuse_reward_model(folder: Path) -> None:
    """Raise `BadInput` for a reward model where one that writes text is needed."""
    if is_reward_model(folder):
        raise BadInput(
            Problem(
                f"{folder.name} is a reward model: it scores answers and can't write any.",
                str(folder),
                "Evaluate it with stage: rm, or name it as reward_model in a ppo run.",
                "model_name_or_path",
            )
        )


# -- loaded models -------------------------------------------------------------------------


def has_score_head(model: Any) -> bool:
    """Whether a loaded model, with or without adapters, is a reward model."""
    return hasattr(_whole(model), SCORE)


def score_layer(model: Any) -> torch.nn.Linear:
    """The linear layer that scores, the active adapter's where it brings its own."""
    layer = getattr(_whole(model), SCORE)
    if hasattr(layer, "modules_to_save") and not layer.disable_adapters:
        layer = layer.modules_to_save[layer.active_adapters[0]]
    found: torch.nn.Linear = getattr(layer, "original_module", layer)
    return found


def put_head(model: Any, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Give the model this head, in fp32. A bias of zero is left away, as transformers has none.

    Raises `BadInput` for a head of another width.
    """
    import torch

    layer = score_layer(model)
    if weight.shape != layer.weight.shape:
        raise BadInput(
            Problem(
                f"The value head is {weight.shape[1]} wide and the model {layer.weight.shape[1]}.",
                FILE,
                "Take the base that the reward model was trained on.",
                "model_name_or_path",
            )
        )
    trained = layer.weight.requires_grad
    place = layer.weight.device
    layer.weight = torch.nn.Parameter(weight.to(place, torch.float32), requires_grad=trained)
    layer.bias = None
    if bool(bias.any()):
        layer.bias = torch.nn.Parameter(bias.to(place, torch.float32), requires_grad=trained)


def scores_at(model: Any, inputs: dict[str, Any], places: torch.Tensor) -> torch.Tensor:
    """The scores (n,) in fp32 at `places` (n,) of the flattened (rows * length) tokens.

    `inputs` are the model's own. Autocast around the decoder is the caller's.
    """
    import torch

    hidden = _whole(model).base_model(**inputs, use_cache=False).last_hidden_state
    states = hidden.reshape(-1, hidden.shape[-1]).index_select(0, places.to(hidden.device))
    layer = score_layer(model)
    with torch.autocast(states.device.type, enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        line = torch.nn.functional.linear(states.float(), layer.weight.float(), bias)
    return line.squeeze(-1)


def scores(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The scores (rows,) in fp32 of padded rows, each read at its last token in the mask."""
    import torch

    rows, length = input_ids.shape
    order = torch.arange(length, device=input_ids.device)
    last = (attention_mask * order).argmax(-1)
    places = torch.arange(rows, device=input_ids.device) * length + last
    return scores_at(model, {"input_ids": input_ids, "attention_mask": attention_mask}, places)


def padding_apart(tokenizer: Any) -> str | None:
    """A special token that pads and never ends a row, where the one that pads now may; else None.

    With it transformers' own forward, which looks for the last token that is no padding, reads a
    row where this module does.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return None
    others = [tokenizer.unk_token, *tokenizer.all_special_tokens]
    # A token that opens turns never ends a row either.
    return next((t for t in others if t is not None and t != tokenizer.eos_token), None)


def _whole(model: Any) -> Any:
    """The model of transformers inside adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
