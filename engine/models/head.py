"""The language head on few positions: what makes losses cheap where the vocabulary is wide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def forward_at(model: Any, inputs: dict[str, Any], positions: torch.Tensor) -> Any:
    """The model's own forward with the head on few positions: `logits` (positions, vocabulary).

    `positions` index the flattened (batch * length) hidden states, in order. A hook hands the head
    only the states there, so whatever the architecture does to its logits (scaling, soft-capping)
    still happens, in its own code. Autocast is the caller's.
    """

    def pick(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0]
        return (hidden.reshape(-1, hidden.shape[-1]).index_select(0, positions), *args[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        return model(**inputs, use_cache=False)
    finally:
        hook.remove()
