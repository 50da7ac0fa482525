"""A model with one trained adapter over frozen weights: a new one, or one that trains on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.vision import frozen_modules
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision

_KINDS = {"lora": "LORA", "oft": "OFT"}


def add_adapter(
    model: Any, config: RunConfig, precision: Precision, resumed: Path | None = None
) -> Any:
    """A PeftModel with one trained adapter: a new one, or the last of `adapter_name_or_path`.

    Several adapters are merged in order, but for the last; with `create_new_adapter` all are, and
    a new one is trained. The adapter is fp32 unless the run is pure bf16. `resumed` is the
    checkpoint that the run goes on from: an adapter's first values are then read from it. Raises
    BadInput for targets that the model lacks, and for folders that are no fitting adapter.
    """
    from peft import get_peft_model

    from engine.models.blocks import remember_expansion
    from engine.training.methods.llama_pro import add_blocks

    given = config.adapters
    if given:
        from engine.models.load import adapter_folders, attach_adapters

        keep = not config.create_new_adapter
        folders = adapter_folders(",".join(given))
        model = attach_adapters(model, folders, precision, trainable=keep)
        if keep:
            if config.finetuning_type == "oft":
                from engine.training.methods.oft import drop_blocks

                drop_blocks(model, config)
            return model
        expansion = getattr(model, "block_expansion", None)
        model = model.merge_and_unload()
    else:
        expansion = None
    places: tuple[int, ...] | None = None
    if config.use_llama_pro:
        places, new = add_blocks(model, config.freeze_trainable_layers)
        expansion = places if new else expansion
    for weight in model.parameters():
        weight.requires_grad_(False)
    widened = precision.trained == "fp32"
    if config.finetuning_type == "oft":
        from engine.training.methods.oft import drop_blocks, oft_config

        turned = oft_config(model, config)
        turned.exclude_modules = frozen_modules(model, config)
        model = get_peft_model(model, turned, autocast_adapter_dtype=widened)
        drop_blocks(model, config)
    else:
        from engine.training.methods.lora import lora_config
        from engine.training.methods.starts import set_start

        described = lora_config(model, config, places)
        described.exclude_modules = frozen_modules(model, config)
        model = get_peft_model(model, described, autocast_adapter_dtype=widened)
        set_start(model, config, resumed)
    if expansion is not None:
        remember_expansion(model, expansion)
    return model


def check_goes_on(folder: Path, config: RunConfig) -> None:
    """Raise BadInput where the adapter that trains on has another form than the settings say."""
    from engine.models.adapter_start import began_as_pissa
    from engine.models.folder import read_json

    stored = read_json(folder / "adapter_config.json")
    kind = str(stored.get("peft_type", "LORA"))
    method = config.finetuning_type
    if kind != _KINDS[method]:
        hint = "Take its base and settings from the run that made it."
        fitting = [name for name, each in _KINDS.items() if each == kind]
        if fitting:
            hint = f"Set finetuning_type: {fitting[0]}, or create_new_adapter: true to merge it."
        raise BadInput(
            Problem(
                f"The adapter is of the kind {kind}, but the method is {method}.",
                str(folder),
                hint,
                "finetuning_type",
            )
        )
    asked = {
        "use_rslora": bool(stored.get("use_rslora")),
        "use_dora": bool(stored.get("use_dora")),
        "pissa_init": began_as_pissa(stored),
        "loftq_init": (folder / "loftq_init").is_dir(),
    }
    for name, has in asked.items():
        if getattr(config, name) and not has:
            raise BadInput(
                Problem(
                    f"{name} is on, but the adapter that trains on was made without it.",
                    str(folder),
                    f"Switch {name} off, or set create_new_adapter: true for a new one.",
                    name,
                )
            )
