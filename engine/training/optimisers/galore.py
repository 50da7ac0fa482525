"""GaLore (Zhao et al., 2024): the optimiser works on low-rank gradients (galore-torch)."""

from __future__ import annotations

from typing import Any

from engine.models.optimiser_size import low_rank, optimiser_options
from engine.training.optimisers.groups import trained
from engine.training.optimisers.low_rank import assemble, projected_groups


def galore(config: Any, model: Any, decay_names: list[str], refuse: Any) -> Any:
    """The optimiser for `use_galore`, or for an `optim` named galore_….

    `refuse` is given where the update is layer by layer. Raises BadInput where nothing is
    projected.
    """
    ranks = low_rank(config)
    assert ranks is not None
    groups, chosen = projected_groups(
        model, trained(model), ranks, decay_names, config.weight_decay, _target_setting(config)
    )
    groups.append(
        {
            "params": [parameter for _, parameter in chosen],
            "weight_decay": config.weight_decay,
            **projection(config),
        }
    )
    kind, options = _class_of(config, ranks.base)

    def make(parts: list[Any]) -> Any:
        return kind(parts, **options)

    return assemble(groups, config.learning_rate, make, refuse)


def projection(config: Any) -> dict[str, Any]:
    """The options that mark a group as projected, by the library's names."""
    if config.use_galore:
        return {
            "rank": config.galore_rank,
            "update_proj_gap": config.galore_update_interval,
            "scale": config.galore_scale,
            "proj_type": config.galore_proj_type,
        }
    # The defaults of transformers for these names.
    given = optimiser_options(config.optim_args)
    return {
        "rank": int(given.get("rank", 128)),
        "update_proj_gap": int(given.get("update_proj_gap", 200)),
        "scale": float(given.get("scale", 0.25)),
        "proj_type": given.get("proj_type", "std"),
    }


def _class_of(config: Any, base: str) -> tuple[Any, dict[str, Any]]:
    import galore_torch

    if base == "adafactor":
        return galore_torch.GaLoreAdafactor, {
            "lr": config.learning_rate,
            "scale_parameter": False,
            "relative_step": False,
        }
    options = {
        "lr": config.learning_rate,
        "betas": (config.adam_beta1, config.adam_beta2),
        "eps": config.adam_epsilon,
    }
    if base == "adamw_8bit":
        return galore_torch.GaLoreAdamW8bit, options
    return galore_torch.GaLoreAdamW, {**options, "no_deprecation_warning": True}


def _target_setting(config: Any) -> str:
    return "galore_target" if config.use_galore else "optim_target_modules"


def projector_classes() -> list[type]:
    """What its state holds beside tensors, for a checkpoint to be read with weights_only."""
    from galore_torch.galore_projector import GaLoreProjector

    return [GaLoreProjector]
