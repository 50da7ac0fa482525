"""KTO: answers marked as liked or not make the liked kind likelier, without pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.training.feedback import FeedbackTrainer
    from engine.training.forms import Collator
    from engine.training.parts import Parts
    from engine.training.references import Reference


def build_trainer(parts: Parts) -> FeedbackTrainer:
    """A ready trainer over feedback rows (`prompt_ids`, `completion_ids`, `label`).

    Raises BadInput for a reference model that can't be loaded.
    """
    from trl import KTOConfig

    from engine.training.feedback import FeedbackRows, FeedbackTrainer, Kto, with_neighbours
    from engine.training.references import load_reference

    config, held = parts.config, parts.evaluation
    reference = load_reference(parts)
    _say_what_is_off(parts)
    options = parts.run_options()
    options["train_dataset"] = with_neighbours(parts.train, parts.stream)
    options["eval_dataset"] = None if held is None else with_neighbours(held)
    return FeedbackTrainer(
        **options,
        # The loss is ours. Under this name TRL leaves its own order of rows and pairing alone.
        args=parts.arguments(KTOConfig, loss_type="apo_zero_unpaired", max_length=None),
        collate=FeedbackRows(_form(parts, reference), parts.longest),
        loss=Kto(
            beta=config.pref_beta,
            desirable=config.kto_chosen_weight,
            undesirable=config.kto_rejected_weight,
            sft_weight=config.pref_ftx,
        ),
        reference=reference,
    )


def _form(parts: Parts, reference: Reference) -> Collator:
    """The collator that the policy and a reference of its own can both run on."""
    from engine.training import attention
    from engine.training.collate import Padded
    from engine.training.forms import choose_form

    pad = parts.tokenizer.pad_token_id or 0
    models = [model for model in (parts.model, reference.model) if model is not None]
    if not all(attention.fits(model, parts.longest) for model in models):
        return Padded(pad)
    forms = [choose_form(model, parts.config, parts.device, parts.longest, pad) for model in models]
    return forms[0]


def _say_what_is_off(parts: Parts) -> None:
    config = parts.config
    parts.say_dropout_is_off("KTO compares exact log-probabilities")
    if config.per_device_train_batch_size == 1:
        parts.session.say(
            "KTO estimates its KL term inside a micro-batch: with one row it is coarse. Raise "
            "per_device_train_batch_size where memory allows it.",
            "note",
        )
    if parts.stream is not None:
        return  # how many rows are desirable is not known before all were read
    labels = parts.train["label"]
    liked = sum(labels)
    disliked = len(labels) - liked
    if not liked or not disliked:
        kind = "desirable" if liked else "undesirable"
        parts.session.say(f"All rows are {kind}: there is nothing to tell apart.", "warning")
        return
    share = config.kto_chosen_weight * liked / (config.kto_rejected_weight * disliked)
    # Equation 8 of the paper: both sides should weigh alike, the desirable up to a third more.
    if not 0.99 <= share <= 1.34 and not 0.99 <= 1 / share <= 1.34:
        wanted = round(config.kto_rejected_weight * disliked / liked, 2)
        parts.session.say(
            f"{liked:,} rows are desirable and {disliked:,} undesirable: kto_chosen_weight "
            f"{wanted:g} would make both sides weigh alike.",
            "note",
        )
