"""What a run will take of the disk: a checkpoint's size, and how many of them stay."""

from __future__ import annotations

from typing import Any

from engine.models.card import ModelCard
from engine.models.held import optimiser_state, own_weights
from engine.models.precision import Precision
from engine.models.trainable import trainable_parameters

_TOKENIZER = 5_000_000


def checkpoint_bytes(
    card: ModelCard, config: Any, precision: Precision, trainable: int | None = None
) -> int:
    """Bytes of one checkpoint: what is saved of the model, optimiser state unless left out."""
    if trainable is None:
        trainable = trainable_parameters(card.shapes, config)
    if config.finetuning_type in ("lora", "oft"):
        saved = trainable * precision.trained_bytes
    else:
        saved = own_weights(card, config, precision, trainable)
    if not config.save_only_model:
        saved += optimiser_state(card, config, precision)
    return saved + _TOKENIZER


def disk_bytes(config: Any, total_steps: int, checkpoint: int) -> int:
    """Bytes that a run leaves on disk: the checkpoints that are kept and the final weights."""
    saves = checkpoints_kept(config, total_steps)
    # The final weights lie in the run's folder too, at most as large as a checkpoint.
    return (saves + 1) * checkpoint


def checkpoints_kept(config: Any, total_steps: int) -> int:
    """Checkpoints that lie on the disk together at most, while the run saves its newest."""
    strategy = str(config.save_strategy)
    saves = 1
    if strategy == "steps" and config.save_steps:
        every = config.save_steps if config.save_steps >= 1 else config.save_steps * total_steps
        saves = max(int(total_steps // max(every, 1)), 1)
    elif strategy == "epoch":
        saves = max(int(config.num_train_epochs), 1)
    if config.save_total_limit:
        # The best one is kept besides the newest, and the new one is written before an old goes.
        saves = min(saves, int(config.save_total_limit) + 1)
    return saves
