"""What a method asks of the model and the adapters, seen in their files before anything loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.models.blocks import new_positions
from engine.models.card import read_card
from engine.models.folder import check_adapter, read_json
from engine.models.load import adapter_folders
from engine.problem import BadInput, Problem
from engine.training.methods.adapters import check_goes_on
from engine.training.methods.freeze import check_names

if TYPE_CHECKING:
    from engine.config import RunConfig

# Whose attention the paper's shift was made for, and tested with here.
SHIFTED = ("llama",)


def check_before_loading(folder: Path, config: RunConfig) -> None:
    """Raise BadInput for a method that the model in `folder`, or a given adapter, does not allow.

    Among others rule 44: unknown module names, a model that doesn't tell its blocks, new blocks
    that can't be spread evenly.
    """
    described = read_json(folder / "config.json")
    inner = described.get("text_config")
    text = inner if isinstance(inner, dict) else described
    if config.shift_attn and text.get("model_type") not in SHIFTED:
        raise BadInput(
            Problem(
                "shift_attn shifts the attention of Llama models, and this one is of the family "
                f"{text.get('model_type')}.",
                str(folder),
                "Switch shift_attn off; rope_scaling lengthens the context of other families.",
                "shift_attn",
            )
        )
    if config.use_llama_pro:
        blocks = text.get("num_hidden_layers")
        if not isinstance(blocks, int):
            raise BadInput(
                Problem(
                    "The model's config.json doesn't say how many blocks it has, so no new ones "
                    "can be spread among them.",
                    str(folder),
                    "Switch use_llama_pro off.",
                    "use_llama_pro",
                )
            )
        new_positions(blocks, config.freeze_trainable_layers)
    if config.finetuning_type == "freeze":
        check_names(read_card(folder).shapes, config)
    folders = adapter_folders(",".join(config.adapters))
    for adapter in folders:
        check_adapter(adapter)
    if folders and not config.create_new_adapter:
        check_goes_on(folders[-1], config)
