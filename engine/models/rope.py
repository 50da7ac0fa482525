"""Rotary positions spread over more tokens than a model was trained on.

Four ways, all of transformers (`modeling_rope_utils`): `linear` divides every position by the
factor (Chen et al., 2023, arXiv 2306.15595), `dynamic` raises the base by the length of the batch
(NTK-aware scaling), `yarn` spreads slow frequencies only and sharpens attention (Peng et al., 2023,
arXiv 2309.00071), `llama3` spreads what turns less than once in the trained length (Llama 3.1).

A model that is trained so must be read so ever after. A whole model's config.json holds it; beside
an adapter `rope_scaling.json` does, which finetui writes and reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.problem import BadInput, Problem

FILE = "rope_scaling.json"
INFERENCE_FACTOR = 2.0
_PLAIN = ("default", "mrope")
# What belongs to one way of scaling and not to the positions themselves.
_SCALING_KEYS = frozenset(
    {
        "rope_type", "type", "factor", "original_max_position_embeddings", "attention_factor",
        "beta_fast", "beta_slow", "short_factor", "long_factor", "low_freq_factor",
        "high_freq_factor", "mscale", "mscale_all_dim", "truncate",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Scaling:
    """Positions as a model is to read them: transformers' `rope_parameters` (by kind of layer where
    a model has several) and `max_position_embeddings`. `context` is how many tokens that reads,
    `why` the sentence that a person is told.
    """

    parameters: dict[str, Any]
    max_positions: int
    context: int
    why: str


def scaling(
    text_config: Any, kind: str, for_training: bool, cutoff_len: int | None, where: str
) -> Scaling | str:
    """How `kind` scales a model of `text_config` (transformers' config of its language part).

    In training the factor is `cutoff_len` over the trained length, rounded up; otherwise 2. A model
    that is scaled in the same way already is scaled by the product. Returns a sentence where
    nothing is scaled. Raises BadInput for a model without rotary positions, and for one that is
    scaled in another way.
    """
    before = getattr(text_config, "rope_parameters", None)
    trained = getattr(text_config, "max_position_embeddings", None)
    if not before or not trained:
        raise BadInput(
            Problem(
                "rope_scaling spreads rotary positions, and this model has none.",
                where,
                "Leave rope_scaling empty and keep cutoff_len within the model's context.",
                "rope_scaling",
            )
        )
    trained = int(trained)
    factor = INFERENCE_FACTOR
    if not for_training and _type_of(before) == kind:
        return f"RoPE: {kind}, as the model's config.json says: {trained:,} tokens."
    if for_training:
        factor = float(math.ceil((cutoff_len or trained) / trained))
        if factor <= 1:
            return (
                f"rope_scaling: nothing is scaled, as cutoff_len {cutoff_len:,} is within the "
                f"{trained:,} tokens that the model was trained on."
            )
    nested = text_config.nested_rope_parameter_keys(before)
    if nested:
        # Layers that look at a short window never see far positions.
        far = [name for name in nested if "sliding" not in name and before[name] is not None]
        parameters = {name: dict(before[name] or {}) for name in before}
        for name in far:
            parameters[name], factor_now = _scaled(before[name], kind, factor, trained, where)
    else:
        parameters, factor_now = _scaled(before, kind, factor, trained, where)
    # Dynamic scaling measures lengths against the trained one; the others tell what they reach.
    reach = int(trained * factor)
    return Scaling(
        parameters,
        trained if kind == "dynamic" else reach,
        reach,
        f"RoPE: {kind}, factor {factor_now:g}: {reach:,} tokens instead of {trained:,}.",
    )


def _type_of(parameters: Mapping[str, Any]) -> str:
    """The way of scaling that a config holds; of several kinds of layers, that of the far ones."""
    found = parameters.get("rope_type") or parameters.get("type")
    if found is None:
        inner = [value for name, value in parameters.items() if "sliding" not in name]
        found = next((value["rope_type"] for value in inner if isinstance(value, Mapping)), None)
    return str(found or "default")


def _scaled(
    before: Mapping[str, Any], kind: str, factor: float, trained: int, where: str
) -> tuple[dict[str, Any], float]:
    had = _type_of(before)
    if had not in (*_PLAIN, kind):
        raise BadInput(
            Problem(
                f"The model's positions are scaled by {had} already, which {kind} would undo.",
                where,
                f"Set rope_scaling: {had}, or leave it empty."
                if had in ("linear", "dynamic", "yarn", "llama3")
                else "Leave rope_scaling empty and keep cutoff_len within the model's context.",
                "rope_scaling",
            )
        )
    kept = {key: value for key, value in before.items() if key not in _SCALING_KEYS}
    if had == kind:
        # Scaled once more: the factors multiply, all else stays as the model was trained.
        kept = {**before, "rope_type": kind}
        factor *= float(before.get("factor") or 1.0)
    kept |= {"rope_type": kind, "factor": factor}
    if kind in ("yarn", "llama3"):
        kept.setdefault("original_max_position_embeddings", trained)
    if kind == "llama3":
        kept.setdefault("low_freq_factor", 1.0)
        kept.setdefault("high_freq_factor", 4.0)
    return kept, factor


def stored_scaling(adapters: Sequence[Path]) -> Scaling | None:
    """How the last of these adapters was trained to read positions; None where it says nothing.

    Raises BadInput for a damaged file.
    """
    for adapter in reversed(adapters):
        path = adapter / FILE
        if not path.is_file():
            continue
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return Scaling(
                dict(held["rope_parameters"]),
                int(held["max_position_embeddings"]),
                int(held["context"]),
                f"RoPE: scaled as {adapter.name} was trained: {int(held['context']):,} tokens.",
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                Problem(
                    f"{FILE} is damaged, so it isn't known how the adapter reads positions.",
                    str(path),
                    "Copy the adapter again, or remove the file to read it without scaling.",
                    "adapter_name_or_path",
                )
            ) from error
    return None


def write_scaling(model: Any, folder: Path) -> None:
    """Write `rope_scaling.json` into an adapter's folder where the model was scaled for its run."""
    found = _of(model)
    if found is None:
        return
    from engine.runs.atomic import write_atomic

    content = {
        "rope_parameters": found.parameters,
        "max_position_embeddings": found.max_positions,
        "context": found.context,
    }
    write_atomic(folder / FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _of(model: Any) -> Scaling | None:
    """The scaling that finetui loaded a model with."""
    return getattr(getattr(model, "finetui_computing", None), "rope", None)


def into_config(described: dict[str, Any], found: Scaling) -> None:
    """Put a scaling into a config.json's content, in place, as transformers 5 writes it."""
    inner = described.get("text_config")
    place = inner if isinstance(inner, dict) else described
    for old in ("rope_scaling", "rope_theta"):
        place.pop(old, None)
    place["rope_parameters"] = found.parameters
    place["max_position_embeddings"] = found.max_positions


def options(text_config: Any, whole_config: Any, found: Scaling) -> dict[str, Any]:
    """What `from_pretrained` is told: settings that take the place of the config's own."""
    changes = {
        "rope_parameters": found.parameters,
        "max_position_embeddings": found.max_positions,
    }
    if text_config is whole_config:
        return changes
    return {"text_config": {**text_config.to_dict(), **changes}}


def context_of(model: Any) -> int | None:
    """The most tokens that a loaded model attends to; None where its config doesn't say."""
    found = _of(model)
    if found is not None:
        return found.context
    text = model.config.get_text_config()
    context = getattr(text, "max_position_embeddings", None)
    parameters = getattr(text, "rope_parameters", None) or {}
    if context is not None and parameters.get("rope_type") == "dynamic":
        return int(context * float(parameters.get("factor") or 1.0))
    return context


def forget_lengths(model: Any) -> None:
    """Let dynamic scaling depend on each batch alone, not on the longest one seen before.

    transformers keeps the scale of the longest batch so far until a short one comes; a run that is
    stopped and resumed would then differ from an unbroken one.
    """

    def forget(module: Any, _: Any) -> None:
        module.max_seq_len_cached = module.original_max_seq_len
        module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)

    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            module.register_forward_pre_hook(forget)
