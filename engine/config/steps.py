"""How many steps a run takes: the Hugging Face trainer's own arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.config.run_config import RunConfig
from engine.config.training import WITHOUT_WARMUP


@dataclass(frozen=True)
class Steps:
    """Updates an epoch and in all, those of the warm-up, and the rows an update is made from."""

    per_epoch: int
    total: int
    warmup: int
    effective_batch: int


def steps_of(rows: int, config: RunConfig, devices: int = 1) -> Steps:
    """The steps of a run over `rows` training rows (after packing and the validation split).

    Follows transformers 5.24: `Trainer.set_initial_training_values` and
    `TrainingArguments.get_warmup_steps`. Schedulers that take no warm-up have 0.
    """
    effective = config.effective_batch * devices
    if rows <= 0:
        return Steps(0, 0, 0, effective)
    micro = config.per_device_train_batch_size
    if config.trainer_extra.get("dataloader_drop_last"):
        batches = rows // micro // devices
    else:
        batches = math.ceil(math.ceil(rows / micro) / devices)
    per_epoch = max(math.ceil(batches / config.gradient_accumulation_steps), 1)
    total = (
        config.max_steps
        if config.max_steps >= 0
        else math.ceil(config.num_train_epochs * per_epoch)
    )
    if config.lr_scheduler_type in WITHOUT_WARMUP:
        warmup = 0
    else:
        asked = config.warmup
        warmup = int(asked) if asked >= 1 else math.ceil(total * asked)
    return Steps(per_epoch, total, warmup, effective)
