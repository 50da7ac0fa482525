"""Attention over rows that lie end to end: each row sees itself, and never its neighbour.

The linear layers of a decoder do not care where one row ends, so a micro-batch is laid out as one
sequence without padding. Only attention must know the rows. It gathers every row into its own line
of a (rows, longest row) block, runs one causal attention over the block, and puts the results
back. Rows start at the left of their line, so the causal triangle alone keeps real tokens from
ever seeing the padding on their right; no mask is built. Several rows may share the same leading
tokens: they are then gathered into each line, but computed once everywhere else.

Registered with transformers' `AttentionInterface` (transformers 5.24), which every decoder that
supports attention backends asks for its attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.models.vision import is_vision_model

if TYPE_CHECKING:
    import torch

NAME = "finetui_rows"
ON_ROWS = (
    "Rows lie end to end, without padding: sdpa attends to each row by itself (flash_attn: "
    "disabled trains on padded batches instead)."
)


def register() -> str:
    """Make the attention known to transformers; returns the name to set on a model."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, rows_attention)
    # Batches that are not laid end to end (generation, evaluation with padding) get sdpa's masks.
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def on_rows(model: Any) -> bool:
    """Whether `model` attends row by row."""
    return getattr(model.config, "_attn_implementation", None) == NAME


def fits(model: Any, longest: int) -> bool:
    """Whether `model` can attend row by row, for rows of up to `longest` tokens.

    False for models whose attention does not go through transformers' interface, or needs more
    than a causal triangle (a sliding window shorter than the rows, soft-capped scores, recurrent
    layers, experts). Those train on padded batches.
    """
    if not getattr(model, "_supports_attention_backend", False):
        return False
    if is_vision_model(model):
        # Pictures are attended to both ways, and may count positions in two directions.
        return False
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        return False
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return False
    if getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None):
        return False  # their balancing loss reads the padding mask
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds <= {"full_attention", "sliding_attention"}


def rows_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    rows_gather: torch.Tensor | None = None,
    rows_scatter: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each row.

    `query` is (1, heads, tokens, width), `key` and `value` (1, key heads, tokens, width).
    `rows_gather` (rows, longest) names for each place of the block the token that stands there;
    `rows_scatter` (tokens,) names for each token its place in the flattened block. Without them
    the batch is an ordinary one and transformers' own sdpa is used. Returns (1, tokens, heads,
    width).
    """
    import torch
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    if rows_gather is None or rows_scatter is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    groups = getattr(module, "num_key_value_groups", 1)
    kind = query.dtype
    if query.device.type == "cpu" and kind != torch.float32:
        # The backward pass of CPU attention in bf16 is several times slower than in fp32.
        query, key, value = query.float(), key.float(), value.float()
    rows, longest = rows_gather.shape
    flat = rows_gather.reshape(-1)

    def lines(states: torch.Tensor) -> torch.Tensor:
        # (1, heads, tokens, width) -> (rows, heads, longest, width)
        heads, _, width = states.shape[1:]
        block = states[0].index_select(1, flat).view(heads, rows, longest, width)
        return block.transpose(0, 1)

    out = torch.nn.functional.scaled_dot_product_attention(
        lines(query),
        repeat_kv(lines(key), groups),
        repeat_kv(lines(value), groups),
        dropout_p=dropout,
        is_causal=True,
        scale=scaling,
    )
    # (rows, heads, longest, width) -> (rows * longest, heads, width) -> (tokens, heads, width)
    out = out.transpose(1, 2).reshape(rows * longest, out.shape[1], out.shape[3])
    return out.index_select(0, rows_scatter).unsqueeze(0).to(kind), None
