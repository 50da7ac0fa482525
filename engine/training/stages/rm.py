"""Reward model: pairs of answers teach a head to give the better one the higher score."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.training.parts import Parts
    from engine.training.scoring_pairs import ScoreTrainer


def build_trainer(parts: Parts) -> ScoreTrainer:
    """A ready trainer over pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`)."""
    from trl import RewardConfig

    from engine.models.score_head import padding_apart
    from engine.training.pair_batches import choose_pair_form
    from engine.training.scoring_pairs import ScoredPairs, ScoreTrainer

    tokenizer = parts.tokenizer
    other = padding_apart(tokenizer)
    if other is not None:
        tokenizer.pad_token = other
    pad = tokenizer.pad_token_id or 0
    form = choose_pair_form([parts.model], parts.config, parts.device, parts.longest, pad)
    return ScoreTrainer(
        # The dropout of the settings stays: TRL would switch it off.
        args=parts.arguments(RewardConfig, max_length=None, disable_dropout=False),
        data_collator=ScoredPairs(form),
        **parts.run_options(),
    )
