"""The tensors that follow from a `config.json`: names and shapes, by arithmetic alone.

Covers the Llama-like families below; a test compares each with the real model on the meta device.
Other architectures are read from the headers of their weights (`engine.models.headers`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Shapes = dict[str, tuple[int, ...]]
Config = Mapping[str, Any]

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.")
_EMBEDDING = re.compile(r"(embed_tokens|wte|wpe|word_embeddings|embed_in|embed_positions)\.weight$")


@dataclass(frozen=True)
class _Family:
    """How a family's block differs from Llama's.

    `norms` are the per-block norms of `hidden_size` weights. `query_key_norm` is "" (none), "head"
    (one weight a head dimension) or "all" (one a projected feature). `attention_bias` and
    `output_bias` tell from the config whether q/k/v and o have biases; `mlp_bias_known` whether
    the family's code looks at `mlp_bias` at all.
    """

    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    final_norm: bool = True
    query_key_norm: str = ""
    attention_bias: Callable[[Config], bool] = lambda c: bool(c.get("attention_bias", False))
    output_bias: Callable[[Config], bool] = lambda c: bool(c.get("attention_bias", False))
    mlp_bias_known: bool = False
    fused_attention: bool = False
    fused_gate: bool = False
    tied_by_default: bool = False
    head_dim: int | None = None


def _always(_: Config) -> bool:
    return True


def _never(_: Config) -> bool:
    return False


_FOUR_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
_AFTER_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")

_FAMILIES: dict[str, _Family] = {
    "llama": _Family(mlp_bias_known=True),
    "mistral": _Family(attention_bias=_never, output_bias=_never),
    "qwen2": _Family(attention_bias=_always, output_bias=_never),
    "qwen3": _Family(query_key_norm="head"),
    "gemma": _Family(tied_by_default=True, head_dim=256),
    "gemma2": _Family(norms=_FOUR_NORMS, tied_by_default=True, head_dim=256),
    "gemma3_text": _Family(
        norms=_FOUR_NORMS, query_key_norm="head", tied_by_default=True, head_dim=256
    ),
    "phi3": _Family(
        attention_bias=_never, output_bias=_never, fused_attention=True, fused_gate=True
    ),
    "smollm3": _Family(tied_by_default=True, mlp_bias_known=True),
    "granite": _Family(mlp_bias_known=True),
    "olmo": _Family(norms=(), final_norm=False),
    "olmo2": _Family(norms=_AFTER_NORMS, query_key_norm="all"),
    "olmo3": _Family(norms=_AFTER_NORMS, query_key_norm="all"),
    "glm": _Family(output_bias=_never, fused_gate=True, head_dim=128),
    "glm4": _Family(
        norms=(
            "input_layernorm",
            "post_attention_layernorm",
            "post_self_attn_layernorm",
            "post_mlp_layernorm",
        ),
        output_bias=_never,
        fused_gate=True,
        head_dim=128,
    ),
}

KNOWN_FAMILIES: tuple[str, ...] = tuple(_FAMILIES)


def is_tied(config: Config) -> bool:
    """Whether the output layer shares the embedding's weights (families differ in default)."""
    family = _FAMILIES.get(str(config.get("model_type", "")))
    return bool(config.get("tie_word_embeddings", bool(family and family.tied_by_default)))


def head_dim(config: Config) -> int:
    """Width of one attention head."""
    family = _FAMILIES.get(str(config.get("model_type", "")))
    heads = int(config.get("num_attention_heads") or config.get("n_head") or 1)
    hidden = int(config.get("hidden_size") or config.get("n_embd") or 0)
    given = config.get("head_dim") or (family.head_dim if family else None)
    return int(given or hidden // heads)


def tensor_shapes(config: Config) -> Shapes | None:
    """Every parameter of the model by its state-dict name; None for a family not known here.

    Tied output embeddings are not listed, as they are no weights of their own.
    """
    family = _FAMILIES.get(str(config.get("model_type", "")))
    if family is None:
        return None
    try:
        hidden, vocab = int(config["hidden_size"]), int(config["vocab_size"])
        layers = int(config["num_hidden_layers"])
        shapes: Shapes = {"model.embed_tokens.weight": (vocab, hidden)}
        for index in range(layers):
            block = _block(config, family)
            shapes.update({f"model.layers.{index}.{name}": shape for name, shape in block.items()})
    except (KeyError, TypeError, ValueError):
        return None
    if family.final_norm:
        shapes["model.norm.weight"] = (hidden,)
    if not is_tied(config):
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def _block(config: Config, family: _Family) -> Shapes:
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    heads = int(config["num_attention_heads"])
    size = head_dim(config)
    queries = heads * size
    keys = int(config.get("num_key_value_heads") or heads) * size
    shapes: Shapes = {}

    def linear(name: str, out: int, inputs: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (out, inputs)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    attention_bias = family.attention_bias(config)
    if family.fused_attention:
        linear("self_attn.qkv_proj", queries + 2 * keys, hidden, attention_bias)
    else:
        linear("self_attn.q_proj", queries, hidden, attention_bias)
        linear("self_attn.k_proj", keys, hidden, attention_bias)
        linear("self_attn.v_proj", keys, hidden, attention_bias)
    linear("self_attn.o_proj", hidden, queries, family.output_bias(config))
    if family.query_key_norm:
        by_head = family.query_key_norm == "head"
        shapes["self_attn.q_norm.weight"] = (size if by_head else queries,)
        shapes["self_attn.k_norm.weight"] = (size if by_head else keys,)
    mlp_bias = family.mlp_bias_known and bool(config.get("mlp_bias", False))
    if family.fused_gate:
        linear("mlp.gate_up_proj", 2 * inner, hidden, mlp_bias)
    else:
        linear("mlp.gate_proj", inner, hidden, mlp_bias)
        linear("mlp.up_proj", inner, hidden, mlp_bias)
    linear("mlp.down_proj", hidden, inner, mlp_bias)
    for norm in family.norms:
        shapes[f"{norm}.weight"] = (hidden,)
    return shapes


def layer_of(name: str) -> int | None:
    """The block a tensor belongs to; None for embeddings, final norm and output layer."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def is_embedding(name: str) -> bool:
    """Whether a tensor is a token or position embedding."""
    return bool(_EMBEDDING.search(name))


def is_output_layer(name: str) -> bool:
    """Whether a tensor belongs to the output layer over the vocabulary."""
    return name.startswith(("lm_head.", "output.", "embed_out.")) or ".lm_head." in name


def count(shape: tuple[int, ...]) -> int:
    """Elements of a tensor."""
    product = 1
    for size in shape:
        product *= size
    return product
