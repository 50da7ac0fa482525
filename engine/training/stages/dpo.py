"""Preference: of two answers to a prompt, the better one becomes likelier than the worse one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.training.losses.preference import Preference
    from engine.training.parts import Parts


def build_trainer(parts: Parts) -> Any:
    """A ready trainer over encoded pairs (`prompt_ids`, `chosen_ids`, `rejected_ids`).

    Raises BadInput for settings that `pref_loss` has no use for, and for a reference model that
    can't be loaded.
    """
    from trl import DPOConfig

    from engine.training.pair_batches import choose_pair_form
    from engine.training.pairs import PairTrainer
    from engine.training.references import load_reference

    config, model = parts.config, parts.model
    preference = preference_of(config)
    reference = load_reference(parts) if preference.needs_reference else None
    models = [model]
    if reference is not None and reference.model is not None:
        models.append(reference.model)
    if config.lora_dropout and config.finetuning_type == "lora":
        parts.session.say(
            "lora_dropout: preference losses compare exact log-probabilities, so dropout is off.",
            "note",
        )
    return PairTrainer(
        **parts.run_options(),
        args=parts.arguments(DPOConfig, beta=preference.beta, max_length=None),
        collate=choose_pair_form(
            models,
            config,
            parts.device,
            parts.longest,
            parts.tokenizer.pad_token_id or 0,
            with_prompt=preference.learns_prompt,
        ),
        preference=preference,
        reference=reference,
    )


def preference_of(config: RunConfig) -> Preference:
    """The loss that the settings describe. Raises BadInput for one that contradicts itself."""
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
    if not found.needs_reference:
        for setting in ("pref_bco_weight", "ld_alpha", "ref_model", "ref_model_adapters"):
            if getattr(config, setting):
                raise _useless(setting, f"{config.pref_loss} compares with no reference model.")
    if found.loss == "robust" and not 0 < found.smoothing < 0.5:
        raise _useless(
            "dpo_label_smoothing",
            "robust needs the share of wrong labels, above 0 and below 0.5.",
            f"Set dpo_label_smoothing, 0.1 for instance; it is {found.smoothing:g}.",
        )
    return found


def _useless(setting: str, what: str, hint: str = "") -> BadInput:
    return BadInput(
        Problem(what, where=setting, hint=hint or f"Leave {setting} out.", setting=setting)
    )
