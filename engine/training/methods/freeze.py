"""Freeze fine-tuning: some whole blocks are trained, the rest stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.config import split_names
from engine.models.score_head import has_score_head, score_layer
from engine.models.trainable import frozen_exceptions
from engine.problem import BadInput, Problem
from engine.training.methods.full import cast_trained
from engine.training.methods.llama_pro import add_blocks

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision


def unfreeze_some(model: Any, config: RunConfig, precision: Precision) -> Any:
    """Train the last n blocks (first n where `freeze_trainable_layers` is negative).

    With `use_llama_pro` n new blocks are added first (`engine.models.blocks`), and those are
    trained. `freeze_trainable_modules` names modules inside those blocks, `freeze_extra_modules`
    modules outside of all blocks. The head of a reward model is always trained. Raises BadInput
    for a name that the model lacks, and for new blocks that it can't get. Of a vision-language
    model the blocks are those that write; its other parts train whole where they are not frozen.
    """
    blocks = None
    if config.use_llama_pro:
        blocks, _ = add_blocks(model, config.freeze_trainable_layers)
    model.requires_grad_(False)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    check_names(shapes, config)
    chosen = set(frozen_exceptions(shapes, config, blocks))
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in chosen)
    if not chosen:
        raise BadInput(
            Problem(
                "freeze trains no weight with these settings.",
                where="freeze_trainable_layers",
                hint="Raise the number of trained layers, or name modules that the model has.",
                setting="freeze_trainable_layers",
            )
        )
    if has_score_head(model):
        score_layer(model).requires_grad_(True)
    cast_trained(model, precision)
    return model


def check_names(shapes: Mapping[str, tuple[int, ...]], config: RunConfig) -> None:
    """Rule 44, a part: raise BadInput for a module name that none of these weights has."""
    parts = {part for name in shapes for part in name.split(".")}
    for setting in ("freeze_trainable_modules", "freeze_extra_modules"):
        for word in split_names(getattr(config, setting)):
            if word != "all" and word not in parts:
                known = sorted(p for p in parts if not p.isdigit() and p not in ("weight", "bias"))
                raise BadInput(
                    Problem(
                        f"The model has no module named {word}.",
                        where=setting,
                        hint=f"It has {', '.join(known)}.",
                        setting=setting,
                    )
                )
