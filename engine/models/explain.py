"""The main fields of a config.json, each in one sentence with this model's own value in it.

A sentence is a message with named places and the values for them, so that a screen can translate
the message and fill in the values after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.models.architecture import head_dim, is_tied

Config = Mapping[str, Any]


@dataclass(frozen=True)
class FieldNote:
    """One field: its `key`, its `value` as text, and `sentence` = `message` with `parts` filled in.

    A translation is looked up by `message`; `MESSAGES` lists them all.
    """

    key: str
    value: str
    message: str
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        return self.message.format(**dict(self.parts))


# Every message by a name of its own, so that a catalogue's test can walk them.
MESSAGES: dict[str, str] = {
    "architectures": "The class that runs it: {value}.",
    "parameters": "All its weights together, counted from the sizes below: {count}.",
    "hidden_size": "Each token is a vector of {value} numbers between the blocks; the width alone "
    "does not tell the size of the model.",
    "num_hidden_layers": "{value} blocks stand one after another; each has an attention part and "
    "a feed-forward part.",
    "intermediate_size": "Inside a block the feed-forward part widens the vector to {value} "
    "numbers, {factor} times the width.",
    "num_attention_heads": "Attention looks at the text in {value} ways at once, with heads of "
    "{head_dim} numbers.",
    "num_key_value_heads_own": "Every attention head has keys and values of its own ({value}).",
    "num_key_value_heads_one": "All {heads} attention heads share one set of keys and values "
    "(multi-query attention), which makes the cache of a conversation {group} times smaller.",
    "num_key_value_heads_group": "Each set of keys and values is shared by {group} attention "
    "heads (grouped-query attention), which makes the cache of a conversation {group} times "
    "smaller.",
    "head_dim": "One attention head works on {value} numbers; {heads} of them make {total}.",
    "max_position_embeddings": "It was made for texts of up to {value} tokens; longer ones need "
    "RoPE scaling.",
    "sliding_window": "Attention reaches back {value} tokens at most in the layers that use a "
    "window.",
    "vocab_size": "It knows {value} different tokens; the embedding holds {weights} weights.",
    "tie_yes": "The output layer shares its weights with the input embedding, which saves "
    "{weights} weights.",
    "tie_no": "Input embedding and output layer are separate, {weights} weights each.",
    "rope_theta": "Positions are encoded by rotations whose slowest period grows with the base "
    "{value}; larger bases suit longer contexts.",
    "rope_none": "Positions are used as they were in training; nothing stretches the context.",
    "rope_scaling": "Positions are stretched ({kind}) by {factor}, so that contexts longer than "
    "in training work.",
    "rope_llama3": "Positions are stretched ({kind}) by {factor}: slow rotations in full, fast "
    "ones not, from an original context of {original} tokens (frequency factors {low} and {high}).",
    "hidden_act": "The feed-forward part bends its numbers with the function {value}.",
    "rms_norm_eps": "{value} is added inside each norm so that it never divides by zero.",
    "attention_bias_yes": "The attention projections add a bias.",
    "attention_bias_no": "The attention projections have no bias.",
    "mlp_bias_yes": "The feed-forward projections add a bias.",
    "mlp_bias_no": "The feed-forward projections have no bias.",
    "attention_dropout_yes": "While training, {share} % of the attention weights are dropped.",
    "attention_dropout_no": "No attention weights are dropped while training.",
    "bos_token_id": "Token {value} marks the beginning of a text.",
    "eos_one": "Token {value} ends an answer.",
    "eos_several": "Any of the {count} tokens {value} ends an answer.",
    "pad_token_id": "Token {value} fills short rows up to a batch's length; it is never trained.",
    "initializer_range": "New weights were drawn with a spread of {value} before training.",
    "pretraining_tp": "Matrices were split into {value} parts in pre-training; 1 means not at all.",
    "dtype": "Its weights are stored as {value}, {bytes} bytes each.",
    "use_cache_yes": "While generating it keeps keys and values, so that each new token costs one "
    "step.",
    "use_cache_no": "While generating it keeps no keys and values; finetui switches that on.",
    "model_type": "The family of architectures it belongs to: {value}.",
    "transformers_version": "It was saved by transformers {value}.",
    "experts": "Each block has {value} experts, of which {active} work on a token.",
    "quantization": "Its weights are already quantised with {value}.",
}

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1}


def explain_config(config: Config, parameters: int) -> tuple[FieldNote, ...]:
    """Notes for the fields that this config has, in the order in which a reader needs them."""
    notes: list[FieldNote] = []

    def note(key: str, value: Any, message: str, **parts: Any) -> None:
        shown = _text(value)
        filled = {"value": shown, **{name: _text(part) for name, part in parts.items()}}
        text = MESSAGES[message]
        kept = tuple((name, part) for name, part in filled.items() if "{" + name + "}" in text)
        notes.append(FieldNote(key, shown, text, kept))

    if config.get("architectures"):
        note("architectures", ", ".join(map(str, config["architectures"])), "architectures")
    note("parameters", parameters, "parameters", count=parameters)
    _explain_size(config, note)
    _explain_positions(config, note)
    _explain_tokens(config, note)
    _explain_rest(config, note)
    return tuple(notes)


Note = Callable[..., None]


def _explain_size(config: Config, note: Note) -> None:
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if hidden:
        note("hidden_size", hidden, "hidden_size")
    if config.get("num_hidden_layers"):
        note("num_hidden_layers", config["num_hidden_layers"], "num_hidden_layers")
    if config.get("intermediate_size") and hidden:
        inner = config["intermediate_size"]
        note("intermediate_size", inner, "intermediate_size", factor=f"{inner / hidden:.3g}")
    if not heads or not hidden:
        return
    size = head_dim(config)
    note("num_attention_heads", heads, "num_attention_heads", head_dim=size)
    groups = config.get("num_key_value_heads") or heads
    kind = "own" if groups == heads else "one" if groups == 1 else "group"
    message = f"num_key_value_heads_{kind}"
    note("num_key_value_heads", groups, message, heads=heads, group=heads // groups)
    if config.get("head_dim"):
        note("head_dim", size, "head_dim", heads=heads, total=heads * size)
    experts = config.get("num_local_experts") or config.get("num_experts")
    if experts:
        active = config.get("num_experts_per_tok") or 1
        note("num_experts", experts, "experts", active=active)


def _explain_positions(config: Config, note: Note) -> None:
    if config.get("max_position_embeddings"):
        note(
            "max_position_embeddings", config["max_position_embeddings"], "max_position_embeddings"
        )
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        note("sliding_window", config["sliding_window"], "sliding_window")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        return
    theta = config.get("rope_theta") or rope.get("rope_theta")
    if theta:
        note("rope_theta", theta, "rope_theta")
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        if theta:
            note("rope_scaling", "default", "rope_none")
        return
    factor = rope.get("factor", 1)
    message = "rope_llama3" if kind == "llama3" else "rope_scaling"
    note(
        "rope_scaling",
        f"{kind} × {_text(factor)}",
        message,
        kind=kind,
        factor=factor,
        original=rope.get("original_max_position_embeddings", "?"),
        low=rope.get("low_freq_factor", "?"),
        high=rope.get("high_freq_factor", "?"),
    )


def _explain_tokens(config: Config, note: Note) -> None:
    hidden, vocab = config.get("hidden_size"), config.get("vocab_size")
    if vocab and hidden:
        note("vocab_size", vocab, "vocab_size", weights=vocab * hidden)
        tied = is_tied(config)
        note("tie_word_embeddings", tied, "tie_yes" if tied else "tie_no", weights=vocab * hidden)
    if isinstance(config.get("bos_token_id"), int):
        note("bos_token_id", str(config["bos_token_id"]), "bos_token_id")
    ends = config.get("eos_token_id")
    if isinstance(ends, list) and len(ends) > 1:
        note("eos_token_id", ", ".join(map(str, ends)), "eos_several", count=len(ends))
    elif ends is not None and ends != []:
        note("eos_token_id", str(ends[0] if isinstance(ends, list) else ends), "eos_one")
    if isinstance(config.get("pad_token_id"), int):
        note("pad_token_id", str(config["pad_token_id"]), "pad_token_id")


def _explain_rest(config: Config, note: Note) -> None:
    dtype = config.get("dtype") or config.get("torch_dtype")
    if isinstance(dtype, str):
        note("dtype", dtype, "dtype", bytes=_BYTES.get(dtype, "?"))
    quantised = config.get("quantization_config")
    if isinstance(quantised, dict):
        note("quantization_config", quantised.get("quant_method", "?"), "quantization")
    act = config.get("hidden_act") or config.get("hidden_activation")
    if act:
        note("hidden_act", act, "hidden_act")
    if config.get("rms_norm_eps"):
        note("rms_norm_eps", f"{config['rms_norm_eps']:.3g}", "rms_norm_eps")
    for key in ("attention_bias", "mlp_bias", "use_cache"):
        if isinstance(config.get(key), bool):
            note(key, config[key], f"{key}_{'yes' if config[key] else 'no'}")
    dropout = config.get("attention_dropout")
    if isinstance(dropout, (int, float)):
        message = "attention_dropout_yes" if dropout else "attention_dropout_no"
        note("attention_dropout", dropout, message, share=f"{100 * dropout:g}")
    for key in ("initializer_range", "pretraining_tp", "model_type", "transformers_version"):
        if config.get(key) is not None:
            note(key, config[key], key)


def _text(value: Any) -> str:
    """A value for people: thousands separated, booleans as in the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 and value == int(value) else f"{value:g}"
    return str(value)
