"""Adam-mini (Zhang et al., 2024): one step size a head, row or tensor (the package adam-mini)."""

from __future__ import annotations

from typing import Any

from engine.problem import BadInput, Problem
from engine.training.optimisers.groups import Named, trained


def adam_mini(config: Any, model: Any) -> Any:
    """The optimiser for `use_adam_mini`. Raises BadInput for tensors it has no rule for."""
    from adam_mini import Adam_mini

    named = trained(model)
    for name, parameter in named:
        if parameter.ndim > 2:
            raise BadInput(
                Problem(
                    f"Adam-mini has no rule for {name}, which has {parameter.ndim} dimensions.",
                    hint="Switch use_adam_mini off; use_galore or adafactor save memory too.",
                    setting="use_adam_mini",
                )
            )
    shape = model.config.get_text_config()
    heads = int(shape.num_attention_heads)
    optimiser = Adam_mini(
        named_parameters=named,
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
        dim=int(shape.hidden_size),
        n_heads=heads,
        n_kv_heads=int(getattr(shape, "num_key_value_heads", None) or heads),
        verbose=False,  # it prints to stdout, which is the screen's
    )
    # It takes a head for hidden ÷ heads wide, which not every family's is.
    size = int(getattr(shape, "head_dim", None) or shape.hidden_size // heads)
    optimiser.head_numel = int(shape.hidden_size) * size
    _check_heads(named, optimiser)
    # It counts the GPUs of the machine, and would wait for processes that aren't there.
    optimiser.world_size = 1
    return optimiser


def _check_heads(named: Named, optimiser: Any) -> None:
    """Queries and keys must divide into the heads (those of a vision tower may be others)."""
    for name, parameter in named:
        lower = name.lower()
        is_head = any(word in lower for word in optimiser.wqk_names) and "bias" not in lower
        if is_head and parameter.numel() % optimiser.head_numel:
            raise BadInput(
                Problem(
                    f"Adam-mini can't divide {name} into the heads of the model.",
                    hint="Switch use_adam_mini off, or leave that part frozen.",
                    setting="use_adam_mini",
                )
            )
