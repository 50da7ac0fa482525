"""How many steps a run takes: the Hugging Face trainer's own arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.config.run_config import RunConfig
from engine.config.schedule import WITHOUT_WARMUP


@dataclass(frozen=True)
class Steps:
    """Steps an epoch and in all, those of the warm-up, and the rows that a step is made from."""

    per_epoch: int
    total: int
    warmup: int
    effective_batch: int


def steps_of(rows: int, config: RunConfig, devices: int = 1) -> Steps:
    """The steps of a run over `rows` training rows (after packing and the validation split).

    Follows transformers 5.24: `Trainer.set_initial_training_values` and
    `TrainingArguments.get_warmup_steps`. Schedulers that take no warm-up have 0. A step of grpo or
    rloo is made from several answers to each of its rows, one of ppo from a whole buffer.
    """
    effective = config.effective_batch * devices
    if config.stage in ("grpo", "rloo"):
        effective = max(effective // config.num_generations, 1)
    elif config.stage == "ppo":
        effective *= config.ppo_buffer_size
    if rows <= 0:
        return Steps(0, 0, 0, effective)
    per_epoch = _steps_of_an_epoch(rows, config, devices, effective)
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


def _steps_of_an_epoch(rows: int, config: RunConfig, devices: int, effective: int) -> int:
    if config.stage in ("grpo", "rloo"):
        # The last round of prompts is filled up (engine.training.groups.order).
        return math.ceil(rows / effective)
    micro = config.per_device_train_batch_size
    if config.trainer_extra.get("dataloader_drop_last"):
        batches = rows // micro // devices
    else:
        batches = math.ceil(math.ceil(rows / micro) / devices)
    accumulated = config.gradient_accumulation_steps
    if config.stage == "ppo":
        accumulated *= config.ppo_buffer_size
    return max(math.ceil(batches / accumulated), 1)
