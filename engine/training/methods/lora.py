"""LoRA: a trained low-rank update W + s·B·A beside frozen weights (Hu et al., 2021).

s is alpha / rank, or alpha / √rank with rsLoRA (Kalajdzievski, 2023). DoRA (Liu et al., 2024)
trains the length of each row of the sum as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.models.score_head import has_score_head
from engine.training.methods.targets import linear_names, target_modules, whole_modules

if TYPE_CHECKING:
    from engine.config import RunConfig


def lora_config(model: Any, config: RunConfig, blocks: Sequence[int] | None = None) -> Any:
    """peft's description of the adapter: rank, alpha (2 × rank where null), dropout, targets.

    `blocks` are the only decoder blocks that get one, None for all. The adapter of a reward model
    holds its head whole.
    """
    from peft import LoraConfig

    targets = target_modules(model, "lora_target", config.lora_target)
    if blocks is not None and isinstance(targets, str):
        targets = linear_names(model)
    # peft itself adds the head to what a SEQ_CLS adapter holds.
    return LoraConfig(
        task_type="SEQ_CLS" if has_score_head(model) else "CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets,
        modules_to_save=whole_modules(model, config.additional_target),
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        layers_to_transform=None if blocks is None else list(blocks),
    )
