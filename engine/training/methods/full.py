"""Full fine-tuning: every weight is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.models.vision import hold_frozen

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision


def unfreeze_all(model: Any, precision: Precision, config: RunConfig) -> Any:
    """All weights trainable, in the type that trained weights have, but for the parts of a
    vision-language model that the settings freeze."""
    model.requires_grad_(True)
    hold_frozen(model, config)
    cast_trained(model, precision)
    return model


def cast_trained(model: Any, precision: Precision) -> None:
    """Hold trained weights in fp32, or in bf16 for a pure bf16 run; frozen ones stay."""
    import torch

    kind = torch.bfloat16 if precision.trained == "bf16" else torch.float32
    for weight in model.parameters():
        if weight.requires_grad and weight.is_floating_point() and weight.dtype != kind:
            weight.data = weight.data.to(kind)
