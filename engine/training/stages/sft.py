"""Supervised fine-tuning: the loss counts on answers (or on what the settings say) only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.training.dataset import Rows, Strategy, to_dataset
from engine.training.forms import choose_form

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision
    from engine.training.arguments import Arguments
    from engine.training.checkpoints_write import CheckpointWriter
    from engine.training.resume import Resume
    from engine.training.stop import Gate
    from engine.training.trainer import SftTrainer


def build_trainer(
    config: RunConfig,
    *,
    model: Any,
    tokenizer: Any,
    train: Rows,
    evaluation: Rows,
    arguments: Arguments,
    precision: Precision,
    device: str,
    gate: Gate,
    writer: CheckpointWriter,
    resume: Resume | None,
    callbacks: list[Any],
) -> SftTrainer:
    """A ready trainer over encoded rows (`input_ids`, `labels`)."""
    from transformers import EarlyStoppingCallback

    from engine.training.trainer import SftTrainer

    rows = to_dataset(train)
    held_out = to_dataset(evaluation) if len(evaluation) else None
    longest = max([*rows["length"], *(held_out["length"] if held_out else [])])
    collator = choose_form(model, config, device, longest, tokenizer.pad_token_id or 0)
    if config.early_stopping_steps:
        early = EarlyStoppingCallback(early_stopping_patience=config.early_stopping_steps)
        if resume is not None:
            for name, value in resume.callback_attributes("EarlyStoppingCallback").items():
                setattr(early, name, value)
        callbacks = [*callbacks, early]
    return SftTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=rows,
        eval_dataset=held_out,
        processing_class=tokenizer,
        callbacks=callbacks,
        gate=gate,
        writer=writer,
        order=order_of(config),
        autocast=precision.autocast if precision.autocast == "bf16" else None,
        measure_accuracy=config.compute_accuracy,
        resume=resume,
    )


def order_of(config: RunConfig) -> Strategy:
    """The order of rows: `disable_shuffling` is the older name for sequential."""
    return "sequential" if config.disable_shuffling else config.train_sampling_strategy
