"""Preference: of two answers to a prompt, the better one becomes likelier than the worse one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.training.losses.preference import Preference
    from engine.training.parts import Parts


def build_trainer(parts: Parts) -> Any:
    """A ready trainer over encoded pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`).

    Raises BadInput for a loss that can't be computed, for a reference model that can't be loaded,
    and for an adapter on the output layer.
    """
    from trl import DPOConfig

    from engine.training.media_batches import PaddedMediaPairs
    from engine.training.pair_batches import choose_pair_form
    from engine.training.pairs import PairTrainer
    from engine.training.references import load_reference

    config, model = parts.config, parts.model
    _refuse_adapted_head(model)
    preference = preference_of(config, parts.session.say)
    reference = load_reference(parts) if preference.needs_reference else None
    models = [model]
    if reference is not None and reference.model is not None:
        models.append(reference.model)
    parts.say_dropout_is_off("preference losses compare exact log-probabilities")
    pad = parts.tokenizer.pad_token_id or 0
    form: Any = choose_pair_form(
        models, config, parts.device, parts.longest, pad, with_prompt=preference.learns_prompt
    )
    if parts.media is not None:
        parts.media.reads_for(model)
        form = PaddedMediaPairs(pad, parts.media, with_prompt=preference.learns_prompt)
    return PairTrainer(
        **parts.run_options(),
        args=parts.arguments(DPOConfig, beta=preference.beta, max_length=None),
        collate=form,
        preference=preference,
        reference=reference,
    )


def preference_of(config: RunConfig, say: Callable[[str, str], object]) -> Preference:
    """The loss that the settings describe; `say` hears of those that it has no use for. Raises
    BadInput for one that can't be computed."""
    from engine.training.losses.preference import Preference

    found = Preference(
        loss=config.pref_loss,
        beta=config.pref_beta,
        smoothing=config.dpo_label_smoothing,
        gamma=config.simpo_gamma,
        ld_alpha=config.ld_alpha,
        sft_weight=config.pref_ftx,
        bco_weight=config.pref_bco_weight,
    )
    if found.loss == "robust" and not 0 < found.smoothing < 0.5:
        raise BadInput(
            Problem(
                "robust needs the share of wrong labels, above 0 and below 0.5.",
                where="dpo_label_smoothing",
                hint="Set dpo_label_smoothing, to 0.1 for instance.",
                setting="dpo_label_smoothing",
            )
        )
    if found.needs_reference:
        return found
    for setting in ("pref_bco_weight", "ld_alpha", "ref_model"):
        if getattr(config, setting):
            say(
                f"{setting} has no effect: {found.loss} compares with no reference model.",
                "note",
            )
    return replace(found, bco_weight=0.0, ld_alpha=None)


def _refuse_adapted_head(model: Any) -> None:
    # TRL's trainer does, as it multiplies by the layer's own weight alone.
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise BadInput(
            Problem(
                "dpo can't train a LoRA adapter on the output layer.",
                where="lora_target",
                hint="Take that layer out of lora_target; additional_target trains it whole.",
                setting="lora_target",
            )
        )
