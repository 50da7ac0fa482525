"""LoRA+ (Hayou et al., 2024): the two matrices of an adapter at different rates (peft)."""

from __future__ import annotations

from typing import Any


def lora_plus(config: Any, model: Any, kind: type, options: dict[str, Any]) -> Any:
    """`kind` (the class that `optim` names, with its `options`) over peft's groups for LoRA+."""
    from peft.optimizers import create_loraplus_optimizer

    more = dict(options)
    return create_loraplus_optimizer(
        model,
        kind,
        lr=more.pop("lr"),
        loraplus_lr_ratio=config.loraplus_lr_ratio,
        loraplus_lr_embedding=config.loraplus_lr_embedding,
        loraplus_weight_decay=config.weight_decay,
        **more,
    )
