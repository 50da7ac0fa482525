"""Which weights are trained: an adapter (LoRA, OFT), some blocks (freeze, LLaMA Pro), or all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision


def apply_method(
    model: Any, config: RunConfig, precision: Precision, resumed: Path | None = None
) -> Any:
    """Make the weights of `config.finetuning_type` trainable, in their type; returns the model.

    The returned model is a PeftModel for LoRA and OFT. `resumed` is the checkpoint that the run
    goes on from, where there is one: its weights are loaded later, but what the method changed in
    the base is made again from it here. Raises BadInput for names the model lacks.
    """
    if config.shift_attn:
        from engine.training.methods import shifted_attention

        model.set_attn_implementation(shifted_attention.register())
    if config.finetuning_type in ("lora", "oft"):
        from engine.training.methods.adapters import add_adapter

        return add_adapter(model, config, precision, resumed)
    if config.finetuning_type == "freeze":
        from engine.training.methods.freeze import unfreeze_some

        return unfreeze_some(model, config, precision)
    from engine.training.methods.full import unfreeze_all

    return unfreeze_all(model, precision, config)
