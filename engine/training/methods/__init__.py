"""Which weights are trained: a LoRA adapter, some blocks (freeze), or all (full)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision


def apply_method(model: Any, config: RunConfig, precision: Precision) -> Any:
    """Make the weights of `config.finetuning_type` trainable, in their type; returns the model.

    The returned model is a PeftModel for LoRA. Raises BadInput for names the model lacks.
    """
    if config.finetuning_type == "lora":
        from engine.training.methods.lora import add_lora

        return add_lora(model, config, precision)
    if config.finetuning_type == "freeze":
        from engine.training.methods.freeze import unfreeze_some

        return unfreeze_some(model, config, precision)
    from engine.training.methods.full import unfreeze_all

    return unfreeze_all(model, precision)
