"""What a run holds from its beginning to its end: its weights, other models, optimiser state."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config.method import WRITING_STAGES
from engine.config.preference import uses_reference
from engine.models.architecture import count
from engine.models.card import ModelCard, read_card
from engine.models.locate import resolve
from engine.models.optimiser_size import optimiser_state_bytes, trained_shapes
from engine.models.precision import Precision
from engine.models.quantised_size import quantised_weight_bytes
from engine.models.trainable import frozen_exceptions, trainable_parameters
from engine.problem import BadInput


def own_weights(card: ModelCard, config: Any, precision: Precision, trainable: int) -> int:
    """The trained model's weights, with its adapter or added blocks."""
    method = config.finetuning_type
    if method in ("lora", "oft"):
        frozen = quantised_weight_bytes(card, config, precision)
        return frozen + trainable * precision.trained_bytes
    if method == "freeze":
        if config.use_llama_pro:
            # The new blocks come on top of the model.
            return card.parameters * precision.weight_bytes + trainable * precision.trained_bytes
        trained = sum(count(card.shapes[name]) for name in frozen_exceptions(card.shapes, config))
        frozen_part = (card.parameters - trained) * precision.weight_bytes
        return frozen_part + trained * precision.trained_bytes
    return card.parameters * precision.trained_bytes


def optimiser_state(card: ModelCard, config: Any, precision: Precision) -> int:
    """The optimiser's state between two steps."""
    trained = trained_shapes(card.shapes, config)
    return optimiser_state_bytes(
        card.shapes, config, precision.trained_bytes, trained, card.hidden * card.head_dim
    )


def second_models(card: ModelCard, config: Any, precision: Precision) -> int:
    """Frozen models beside the trained one: a reference or teacher, and a reward model.

    With LoRA the base is its own reference, and its own teacher; freeze keeps the start of the
    blocks that it trains. Another model that is not on this disk counts as large as this one.
    """
    return _reference(card, config, precision) + _reward(card, config, precision)


def _reference(card: ModelCard, config: Any, precision: Precision) -> int:
    distils = config.stage == "distill"
    named = config.teacher_model if distils else config.ref_model
    if not distils and not uses_reference(config) and not config.use_asft_loss:
        return 0
    own = named in (None, config.model_name_or_path)
    if own and config.finetuning_type in ("lora", "oft"):
        return 0
    if own and config.finetuning_type == "freeze" and not distils:
        # The trained blocks as they were at the start are all that is needed.
        return trainable_parameters(card.shapes, config) * precision.trained_bytes
    bits = None if distils else config.ref_model_quantization_bit
    return _frozen(named, card, config, precision, bits)


def _reward(card: ModelCard, config: Any, precision: Precision) -> int:
    if config.stage not in WRITING_STAGES or not config.reward_model:
        return 0
    kind = config.reward_model_type
    if kind == "api":
        return 0
    if kind == "lora":
        return _adapter_files(str(config.reward_model))
    bits = config.reward_model_quantization_bit
    return _frozen(str(config.reward_model), card, config, precision, bits)


def _frozen(
    named: str | None, card: ModelCard, config: Any, precision: Precision, bits: int | None
) -> int:
    """A frozen model's weights, in the type that the run computes in."""
    other = card
    if named:
        with contextlib.suppress(BadInput):
            other = read_card(resolve(named, config).path)
    held = replace(precision, weights=precision.autocast or precision.weights)
    as_loaded = replace(config, quantization_bit=bits, quantization_method="bnb")
    return quantised_weight_bytes(other, as_loaded, held)


def _adapter_files(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).expanduser().glob("*.safetensors"))
