"""Supervised fine-tuning: the loss counts on answers (or on what the settings say) only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.training.losses.tokens import TokenObjective
    from engine.training.parts import Parts
    from engine.training.trainer import SftTrainer


def build_trainer(parts: Parts) -> SftTrainer:
    """A ready trainer over encoded rows (`input_ids`, `labels`).

    Raises BadInput for settings that ask for two losses at once.
    """
    from trl import SFTConfig

    from engine.datasets.packing import packs_whole
    from engine.training.collate import Unpacked
    from engine.training.forms import packed_form
    from engine.training.media_batches import PaddedMedia
    from engine.training.references import load_reference
    from engine.training.second_model import choose_form_for_both
    from engine.training.trainer import SftTrainer

    pad = parts.tokenizer.pad_token_id or 0
    objective = objective_of(parts.config)
    reference = load_reference(parts) if objective.kind == "asft" else None
    second = reference.model if reference else None
    form: Any = choose_form_for_both(
        parts.model, second, parts.config, parts.device, parts.longest, pad
    )
    if parts.media is not None:
        parts.media.reads_for(parts.model)
        form = PaddedMedia(pad, parts.media)
        if packs_whole(parts.config):  # rows of text, which must not see one another here either
            form = Unpacked(form)
    elif packs_whole(parts.config):
        form = Unpacked(packed_form(form, parts.model, parts.config, second))
    return SftTrainer(
        args=parts.arguments(SFTConfig, **SFT_ARGUMENTS),
        data_collator=form,
        objective=objective,
        reference=reference,
        measure_accuracy=parts.config.compute_accuracy,
        **parts.run_options(),
    )


def objective_of(config: RunConfig) -> TokenObjective:
    """The loss that the settings ask for. Raises BadInput where they ask for several."""
    from engine.training.losses.tokens import TokenObjective

    asked = [name for name in ("dft", "asft", "eaft") if getattr(config, f"use_{name}_loss")]
    if len(asked) > 1:
        names = " and ".join(f"use_{name}_loss" for name in asked)
        raise BadInput(
            Problem(
                f"{names} are on together, but a run has one loss.",
                where="settings",
                hint="Leave one of them on.",
                setting=f"use_{asked[1]}_loss",
            )
        )
    if asked == ["dft"]:
        return TokenObjective("dft")
    if asked == ["asft"]:
        return TokenObjective("asft", config.asft_alpha)
    if asked == ["eaft"]:
        return TokenObjective("eaft", config.eaft_alpha)
    return TokenObjective()


# Rows come encoded, and the collator is finetui's: TRL is to prepare nothing.
SFT_ARGUMENTS = {
    "padding_free": False,
    "packing": False,
    "max_length": None,
    "dataset_kwargs": {"skip_prepare_dataset": True},
}
