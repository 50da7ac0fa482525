"""APOLLO (Zhu et al., 2024): step sizes from a random low-rank view of each gradient
(apollo-torch)."""

from __future__ import annotations

from typing import Any

from engine.models.optimiser_size import low_rank, optimiser_options
from engine.problem import BadInput, Problem
from engine.training.optimisers.groups import Named, trained
from engine.training.optimisers.low_rank import assemble, projected_groups


def apollo(config: Any, model: Any, decay_names: list[str], refuse: Any) -> Any:
    """The optimiser for `use_apollo`, or for an `optim` named apollo_….

    `refuse` is given where the update is layer by layer. Raises BadInput where nothing is
    projected, or a projection would take away the channels that are scaled.
    """
    from apollo_torch import APOLLOAdamW

    ranks = low_rank(config)
    assert ranks is not None
    setting = "apollo_target" if config.use_apollo else "optim_target_modules"
    groups, chosen = projected_groups(
        model, trained(model), ranks, decay_names, config.weight_decay, setting
    )
    options = projection(config)
    _check_sides(chosen, options)
    groups.append(
        {
            "params": [parameter for _, parameter in chosen],
            "weight_decay": config.weight_decay,
            **options,
        }
    )

    def make(parts: list[Any]) -> Any:
        return APOLLOAdamW(
            parts,
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            scale_front=bool(config.use_apollo and config.apollo_scale_front),
        )

    return assemble(groups, config.learning_rate, make, refuse)


def projection(config: Any) -> dict[str, Any]:
    """The options that mark a group as projected, by the library's names."""
    if config.use_apollo:
        return {
            "rank": config.apollo_rank,
            "proj": config.apollo_proj,
            "proj_type": config.apollo_proj_type,
            "update_proj_gap": config.apollo_update_interval,
            "scale": config.apollo_scale,
            "scale_type": config.apollo_scale_type,
        }
    # The defaults of transformers for these names.
    given = optimiser_options(config.optim_args)
    return {
        "rank": int(given.get("rank", 128)),
        "proj": given.get("proj", "random"),
        "proj_type": given.get("proj_type", "std"),
        "update_proj_gap": int(given.get("update_proj_gap", 200)),
        "scale": float(given.get("scale", 1.0)),
        "scale_type": given.get("scale_type", "channel"),
    }


def _check_sides(chosen: Named, options: dict[str, Any]) -> None:
    """The library scales along the longer side, so that one must be left."""
    side = options["proj_type"]
    if options["scale_type"] != "channel" or side == "std":
        return
    for name, parameter in chosen:
        rows, columns = parameter.shape
        if (rows >= columns) != (side == "right"):
            raise BadInput(
                Problem(
                    f"The projection {side} takes away the channels of {name} "
                    f"({rows} x {columns}), so they can't have step sizes of their own.",
                    hint="Set apollo_proj_type: std, or apollo_scale_type: tensor.",
                    setting="apollo_proj_type",
                )
            )


def projector_classes() -> list[type]:
    """What its state holds beside tensors, for a checkpoint to be read with weights_only."""
    from apollo_torch.random_projector import GradientProjector
    from apollo_torch.svd_projector import GaLoreProjector

    return [GradientProjector, GaLoreProjector]
