"""Pre-training: plain text is learned token by token, whole texts packed into full rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.training.forms import choose_form
from engine.training.stages.sft import SFT_ARGUMENTS

if TYPE_CHECKING:
    from engine.training.parts import Parts
    from engine.training.trainer import SftTrainer


def build_trainer(parts: Parts) -> SftTrainer:
    """A ready trainer over encoded texts (`input_ids`, `labels`).

    Rows are what `engine.datasets.packing` made of them (unless `packing` is false): within one, a
    token sees the texts before its own, as is usual in pre-training. The loss counts on every
    token but a row's first; its exponential is logged as `perplexity`.
    """
    from trl import SFTConfig

    from engine.training.trainer import SftTrainer

    pad = parts.tokenizer.pad_token_id or 0
    return SftTrainer(
        args=parts.arguments(SFTConfig, **SFT_ARGUMENTS),
        data_collator=choose_form(parts.model, parts.config, parts.device, parts.longest, pad),
        measure_accuracy=parts.config.compute_accuracy,
        measure_perplexity=True,
        **parts.run_options(),
    )
