"""Supervised fine-tuning: the loss counts on answers (or on what the settings say) only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.training.forms import choose_form

if TYPE_CHECKING:
    from engine.training.parts import Parts
    from engine.training.trainer import SftTrainer


def build_trainer(parts: Parts) -> SftTrainer:
    """A ready trainer over encoded rows (`input_ids`, `labels`)."""
    from trl import SFTConfig

    from engine.training.trainer import SftTrainer

    pad = parts.tokenizer.pad_token_id or 0
    return SftTrainer(
        args=parts.arguments(SFTConfig, **SFT_ARGUMENTS),
        data_collator=choose_form(parts.model, parts.config, parts.device, parts.longest, pad),
        measure_accuracy=parts.config.compute_accuracy,
        **parts.run_options(),
    )


# Rows come encoded, and the collator is finetui's: TRL is to prepare nothing.
SFT_ARGUMENTS = {
    "padding_free": False,
    "packing": False,
    "max_length": None,
    "dataset_kwargs": {"skip_prepare_dataset": True},
}
