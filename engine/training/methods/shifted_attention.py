"""Shifted sparse attention: while training, tokens attend within groups (LongLoRA).

After Chen et al., 2024: a sequence is cut into groups of a quarter of its length; in half of the
heads the cuts are shifted by half a group, so that what one layer keeps apart the next brings
together. The paper rolls the shifted heads round, which lets the first tokens see the last ones;
here the sequence's two ends are groups of their own instead. In evaluation, and wherever keys are
cached, attention is whole.

Registered with transformers' `AttentionInterface` and `AttentionMaskInterface` (transformers
5.24). It serves padded batches and rows laid end to end alike: the sequence is the padded length
of the micro-batch, or its longest row.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from engine.training.attention import rows_attention

NAME = "finetui_shifted"
# A group is this share of the sequence.
GROUPS = 4


def register() -> str:
    """Make the attention known to transformers; returns the name to set on a model."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, shifted_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def shifted_attention(
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
    """Causal attention within groups while `module` trains, else transformers' own.

    `query` is (batch, heads, tokens, width), `key` and `value` have the key heads. A mask is
    (batch, 1, tokens, tokens), True where a token may be seen; without one each token sees itself
    and what is before it. `rows_gather` and `rows_scatter` are those of
    `engine.training.attention.rows_attention`. Returns (batch, tokens, heads, width).
    """
    from transformers.integrations.sdpa_attention import repeat_kv

    whole = query.shape[2] != key.shape[2]
    if not module.training or whole:
        out: tuple[torch.Tensor, None] = rows_attention(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout,
            rows_gather=rows_gather, rows_scatter=rows_scatter, **kwargs,
        )  # fmt: skip
        return out
    kind = query.dtype
    if query.device.type == "cpu" and kind != torch.float32:
        # The backward pass of CPU attention in bf16 is several times slower than in fp32.
        query, key, value = query.float(), key.float(), value.float()
    repeats = getattr(module, "num_key_value_groups", 1)
    end_to_end = rows_gather is not None and rows_scatter is not None
    if end_to_end:
        query, key, value = (_lines(states, rows_gather) for states in (query, key, value))
        attention_mask = None  # rows start at the left of their line
    result = grouped(
        query,
        repeat_kv(key, repeats),
        repeat_kv(value, repeats),
        attention_mask,
        scaling,
        dropout,
    )
    result = result.transpose(1, 2)
    if end_to_end:
        rows, longest = result.shape[:2]
        flat = result.reshape(rows * longest, *result.shape[2:])
        result = flat.index_select(0, rows_scatter).unsqueeze(0)
    return result.to(kind).contiguous(), None


def grouped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention within groups of a quarter of the tokens, half of the heads shifted.

    All three are (batch, heads, tokens, width), and so is the result.
    """
    tokens, heads = query.shape[2], query.shape[1]
    group = max(1, -(-tokens // GROUPS))
    still = heads - heads // 2
    parts = []
    for chosen, shift in ((slice(0, still), 0), (slice(still, heads), group // 2)):
        if chosen.start == chosen.stop:
            continue
        pieces = [
            _causal(query, key, value, mask, chosen, slice(start, stop), scaling, dropout)
            for start, stop in cuts(tokens, group, shift)
        ]
        parts.append(torch.cat(pieces, dim=2))
    return torch.cat(parts, dim=1)


def cuts(tokens: int, group: int, shift: int) -> list[tuple[int, int]]:
    """The groups' beginnings and ends: every `group` tokens, moved back by `shift`."""
    edges = [0, *range(group - shift, tokens, group), tokens]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def _causal(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    heads: slice,
    tokens: slice,
    scaling: float | None,
    dropout: float,
) -> torch.Tensor:
    allowed = None
    if mask is not None:
        # A padded token sees nothing of its group, which gives no number: it may see itself.
        allowed = mask[:, :, tokens, tokens]
        itself = torch.eye(allowed.shape[-1], dtype=torch.bool, device=allowed.device)
        allowed = allowed | itself
    return scaled_dot_product_attention(
        query[:, heads, tokens],
        key[:, heads, tokens],
        value[:, heads, tokens],
        attn_mask=allowed,
        dropout_p=dropout,
        is_causal=allowed is None,
        scale=scaling,
    )


def _lines(states: torch.Tensor, gather: torch.Tensor | None) -> torch.Tensor:
    """(1, heads, tokens, width) -> (rows, heads, longest row, width)."""
    assert gather is not None
    rows, longest = gather.shape
    heads, _, width = states.shape[1:]
    block = states[0].index_select(1, gather.reshape(-1)).view(heads, rows, longest, width)
    return block.transpose(0, 1)
