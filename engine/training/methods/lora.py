"""LoRA: a trained low-rank update W + (alpha / r)·B·A beside frozen weights (Hu et al., 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.config import split_names
from engine.models.score_head import has_score_head
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision


def add_lora(model: Any, config: RunConfig, precision: Precision) -> Any:
    """A PeftModel with one trained adapter: a new one, or the last of `adapter_name_or_path`.

    Several adapters are merged in order, but for the last; with `create_new_adapter` all are, and
    a new one is trained. The adapter is fp32 unless the run is pure bf16. Raises BadInput for
    targets that the model lacks, and for folders that are no fitting adapter.
    """
    from peft import get_peft_model

    given = config.adapters
    if given:
        from engine.models.folder import check_adapter
        from engine.models.load import adapter_folders, attach_adapters

        folders = adapter_folders(",".join(given))
        for folder in folders:
            check_adapter(folder)
        keep = not config.create_new_adapter
        model = attach_adapters(model, folders, precision, trainable=keep)
        if keep:
            return model
        model = model.merge_and_unload()
    for weight in model.parameters():
        weight.requires_grad_(False)
    return get_peft_model(
        model, lora_config(model, config), autocast_adapter_dtype=precision.trained == "fp32"
    )


def lora_config(model: Any, config: RunConfig) -> Any:
    """peft's description of the adapter: rank, alpha (2 × rank where null), dropout, targets.

    The adapter of a reward model holds its head whole.
    """
    from peft import LoraConfig

    targets: str | list[str] = "all-linear"
    names = list(split_names(config.lora_target))
    if names != ["all"]:
        _check_names(model, names, "lora_target")
        targets = names
    whole = list(split_names(config.additional_target))
    _check_names(model, whole, "additional_target")
    # peft itself adds the head to what a SEQ_CLS adapter holds.
    return LoraConfig(
        task_type="SEQ_CLS" if has_score_head(model) else "CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets,
        modules_to_save=whole or None,
    )


def _check_names(model: Any, names: list[str], setting: str) -> None:
    modules = [name for name, _ in model.named_modules()]
    for name in names:
        if not any(module == name or module.endswith(f".{name}") for module in modules):
            import torch

            linear = {
                path.rsplit(".", 1)[-1]
                for path, module in model.named_modules()
                if isinstance(module, torch.nn.Linear)
            }
            raise BadInput(
                Problem(
                    f"The model has no module named {name}.",
                    where=setting,
                    hint=f"Its linear modules are {', '.join(sorted(linear))}.",
                    setting=setting,
                )
            )
