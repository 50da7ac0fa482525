"""The fields of a config.json, each in one sentence with this model's own value in it.

A sentence is a message with named places and the values for them, so that a screen can translate
the message and fill in the values after. What a field means is read in the modeling code of
transformers; a field that is not known here is listed as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.models.architecture import head_dim, is_tied
from engine.models.explain_fields import ALIASES, FIELDS, PREFIXES, SUFFIXES
from engine.models.explain_messages import MESSAGES

__all__ = ["MESSAGES", "FieldNote", "explain_config", "unexplained"]

Config = Mapping[str, Any]
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1}
# A language model inside a larger one, and the parts beside it.
_TEXT_PARTS = ("text_config", "llm_config", "language_config")
# In a list as long as the model is deep, what comes once is told once.
_LONGEST_LIST = 8


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

    @property
    def explained(self) -> bool:
        """Whether it says more than that it can't say anything."""
        return self.message != MESSAGES["unexplained"]


def explain_config(config: Config, parameters: int) -> tuple[FieldNote, ...]:
    """A note for every field of `config`, in the order in which a reader needs them: what the model
    is, its size, positions, tokens, then the rest as the file has it, what is not known last.

    A model with pictures or sound has its language model's fields explained after its own.
    """
    notes = _Notes(config)
    notes.explain(parameters)
    for part in _TEXT_PARTS:
        inner = config.get(part)
        if isinstance(inner, dict) and inner:
            below = _Notes(inner, prefix=f"{part}.")
            below.explain(0)
            notes.known += below.known
            notes.unknown += below.unknown
    return (*notes.known, *notes.unknown)


def unexplained(notes: tuple[FieldNote, ...]) -> list[str]:
    """The fields that have no explanation."""
    return [note.key for note in notes if not note.explained]


@dataclass
class _Notes:
    """The notes of one config, or of one part of it."""

    config: Config
    prefix: str = ""
    known: list[FieldNote] = field(default_factory=list)
    unknown: list[FieldNote] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)

    def explain(self, parameters: int) -> None:
        if self.config.get("architectures"):
            named = ", ".join(map(str, self.config["architectures"]))
            self.note("architectures", named, "architectures")
        if parameters:
            self.note("parameters", parameters, "parameters", count=parameters)
        self._size()
        self._experts()
        self._positions()
        self._tokens()
        self._storage()
        self._parts()
        for key, value in self.config.items():
            if key not in self._done and key != "architectures":
                self._simple(key, value)

    # -- what every rule below uses

    def key_of(self, name: str) -> str:
        """How this config spells a field: `n_layer` stands for `num_hidden_layers`."""
        if self.config.get(name) is not None:
            return name
        for key, canonical in ALIASES.items():
            if canonical == name and self.config.get(key) is not None:
                return key
        return name

    def get(self, name: str) -> Any:
        return self.config.get(self.key_of(name))

    def note(self, key: str, value: Any, message: str, **parts: Any) -> None:
        """A note on the field `key`, whose sentence is `MESSAGES[message]`."""
        shown = _text(value)
        filled = {"value": shown, **{name: _text(part) for name, part in parts.items()}}
        text = MESSAGES[message]
        kept = tuple((name, part) for name, part in filled.items() if "{" + name + "}" in text)
        place = self.unknown if message == "unexplained" else self.known
        place.append(FieldNote(self.prefix + key, shown, text, kept))
        self._done.add(key)

    # -- fields whose meaning depends on others

    def _size(self) -> None:
        hidden, heads = self.get("hidden_size"), self.get("num_attention_heads")
        if isinstance(hidden, int):
            self.note(self.key_of("hidden_size"), hidden, "hidden_size")
        if self.get("num_hidden_layers"):
            key = self.key_of("num_hidden_layers")
            self.note(key, self.config[key], "num_hidden_layers")
        inner = self.get("intermediate_size")
        if isinstance(inner, int) and isinstance(hidden, int) and hidden:
            key = self.key_of("intermediate_size")
            self.note(key, inner, "intermediate_size", factor=f"{inner / hidden:.3g}")
        if not (isinstance(heads, int) and heads and isinstance(hidden, int)):
            return
        if self.config.get("kv_lora_rank"):
            self._latent_heads(heads)
            return
        size = int(self.config.get("head_dim") or 0) or hidden // heads
        if "head_dim" not in self.config and "hidden_size" in self.config:
            size = head_dim(self.config)
        key = self.key_of("num_attention_heads")
        self.note(key, heads, "num_attention_heads", head_dim=size)
        groups = self.get("num_key_value_heads") or heads
        if isinstance(groups, int):
            kind = "own" if groups == heads else "one" if groups == 1 else "group"
            key = self.key_of("num_key_value_heads")
            message = f"num_key_value_heads_{kind}"
            self.note(key, groups, message, heads=heads, group=heads // groups)
        if self.config.get("head_dim"):
            self.note("head_dim", size, "head_dim", heads=heads, total=heads * size)

    def _latent_heads(self, heads: int) -> None:
        """Heads whose keys and values are compressed: their sizes are fields of their own."""
        self.note(self.key_of("num_attention_heads"), heads, "num_attention_heads_latent")
        for name in ("num_key_value_heads", "head_dim"):
            if self.config.get(name):
                self.note(name, self.config[name], f"{name}_latent")

    def _experts(self) -> None:
        experts, active = self.get("num_experts"), self.get("num_experts_per_tok")
        if not isinstance(experts, int) or not experts:
            return
        key = self.key_of("num_experts")
        self.note(key, experts, "experts", active=active or 1)
        if isinstance(active, int):
            key = self.key_of("num_experts_per_tok")
            share = f"{100 * active / experts:.3g}"
            self.note(key, active, "num_experts_per_tok_share", share=share)

    def _positions(self) -> None:
        longest = self.get("max_position_embeddings")
        if longest:
            self.note(self.key_of("max_position_embeddings"), longest, "max_position_embeddings")
        if "sliding_window" in self.config:
            window = self.config["sliding_window"]
            used = self.config.get("use_sliding_window", True)
            message = "sliding_window" if used else "sliding_window_off"
            self.note("sliding_window", window, message if window else "sliding_window_none")
        kinds = self.config.get("layer_types")
        if isinstance(kinds, list) and kinds:
            self.note("layer_types", _counted(kinds), "layer_types")
        for key in ("rope_parameters", "rope_scaling"):
            rope = self.config.get(key)
            if isinstance(rope, dict):
                self._rope(key, rope)
        theta = self.config.get("rope_theta")
        if theta:
            self.note("rope_theta", theta, "rope_theta")
        if "rope_scaling" in self.config and self.config["rope_scaling"] is None:
            self.note("rope_scaling", "null", "rope_none")

    def _rope(self, key: str, rope: Config) -> None:
        """Rotations: of all layers, or nested by the kind of layer that uses them."""
        self._done.add(key)
        nested = {name: part for name, part in rope.items() if isinstance(part, dict)}
        for name, part in nested.items():
            told = ", ".join(f"{field} {_text(value)}" for field, value in part.items())
            self.note(f"{key}.{name}", told, "rope_layers", kind=name)
        if nested:
            return
        if rope.get("rope_theta"):
            self.note(f"{key}.rope_theta", rope["rope_theta"], "rope_theta")
        if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
            self.note(
                f"{key}.partial_rotary_factor",
                rope["partial_rotary_factor"],
                "partial_rotary_factor",
                share=f"{100 * rope['partial_rotary_factor']:g}",
            )
        if rope.get("mrope_section"):
            self.note(f"{key}.mrope_section", rope["mrope_section"], "rope_mrope")
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind in ("default", "mrope"):
            if "mrope_section" not in rope:
                self.note(key, "default", "rope_none")
            return
        factor = rope.get("factor", 1)
        shown = f"{kind} × {_text(factor)}" if "factor" in rope else kind
        message = {
            "llama3": "rope_llama3",
            "yarn": "rope_yarn",
            "longrope": "rope_longrope",
            "su": "rope_longrope",
        }.get(kind, "rope_scaling")
        self.note(
            key,
            shown,
            message,
            kind=kind,
            factor=factor,
            original=rope.get("original_max_position_embeddings") or "?",
            low=rope.get("low_freq_factor", "?"),
            high=rope.get("high_freq_factor", "?"),
        )

    def _tokens(self) -> None:
        hidden, vocab = self.get("hidden_size"), self.config.get("vocab_size")
        if isinstance(vocab, int) and isinstance(hidden, int):
            self.note("vocab_size", vocab, "vocab_size", weights=vocab * hidden)
            if "tie_word_embeddings" in self.config or not self.prefix:
                tied = is_tied(self.config)
                message = "tie_yes" if tied else "tie_no"
                self.note("tie_word_embeddings", tied, message, weights=vocab * hidden)
        if isinstance(self.config.get("bos_token_id"), int):
            self.note("bos_token_id", str(self.config["bos_token_id"]), "bos_token_id")
        ends = self.config.get("eos_token_id")
        if isinstance(ends, list) and len(ends) > 1:
            told = ", ".join(map(str, ends))
            self.note("eos_token_id", told, "eos_several", count=len(ends))
        elif ends is not None and ends != []:
            self.note("eos_token_id", str(ends[0] if isinstance(ends, list) else ends), "eos_one")
        if isinstance(self.config.get("pad_token_id"), int):
            self.note("pad_token_id", str(self.config["pad_token_id"]), "pad_token_id")

    def _storage(self) -> None:
        for key in ("dtype", "torch_dtype"):
            dtype = self.config.get(key)
            if isinstance(dtype, str):
                self.note(key, dtype, "dtype", bytes=_BYTES.get(dtype, "?"))
        quantised = self.config.get("quantization_config")
        if isinstance(quantised, dict):
            kind = quantised.get("quant_method") or "?"
            bits = quantised.get("bits") or _loaded_bits(quantised)
            group = quantised.get("group_size")
            grouped = isinstance(group, int) and group > 0
            message = "quantization_group" if grouped else "quantization_bits"
            self.note(
                "quantization_config", kind, message if bits else "quantization",
                kind=kind, bits=bits, group=group,
            )  # fmt: skip

    def _parts(self) -> None:
        for part in _TEXT_PARTS:
            if isinstance(self.config.get(part), dict):
                self.note(part, "{…}", "text_config")
        vision = self.config.get("vision_config")
        if isinstance(vision, dict):
            # As a model of its own: its fields go by the same names, or by those of the family.
            inner = _Notes(vision)
            self.note(
                "vision_config",
                "{…}",
                "vision_config",
                kind=vision.get("model_type") or "?",
                layers=inner.get("num_hidden_layers") or vision.get("depth") or "?",
                width=inner.get("hidden_size") or vision.get("embed_dim") or "?",
            )
        audio = self.config.get("audio_config")
        if isinstance(audio, dict):
            self.note("audio_config", "{…}", "audio_config", kind=audio.get("model_type") or "?")
        mapped = self.config.get("auto_map")
        if isinstance(mapped, dict):
            self.note("auto_map", ", ".join(sorted(mapped)), "auto_map")
        for key in ("id2label", "label2id"):
            if isinstance(self.config.get(key), dict):
                self.note(key, "{…}", "labels", count=len(self.config[key]))

    # -- fields that speak for themselves

    def _simple(self, key: str, value: Any) -> None:
        message = FIELDS.get(key) or FIELDS.get(ALIASES.get(key, ""), "") or _by_its_ends(key)
        if not message:
            if isinstance(value, dict) and key.endswith("_config"):
                self.note(key, "{…}", "inner_config", count=len(value))
            else:
                self.note(key, value, "unexplained")
            return
        if value is None:
            own = f"{message}_none"
            without = "no_token" if message in ("special_token", "image_token") else "unset"
            self.note(key, "null", own if own in MESSAGES else without)
        elif isinstance(value, bool) and f"{message}_yes" in MESSAGES:
            self.note(key, value, f"{message}_{'yes' if value else 'no'}")
        elif not value and f"{message}_zero" in MESSAGES:
            self.note(key, value, f"{message}_zero")
        elif message in MESSAGES:
            share = f"{100 * value:g}" if isinstance(value, (int, float)) else "?"
            # Numbers of tokens are names, not amounts.
            shown = str(value) if message.endswith("_token") else _long(value)
            self.note(key, shown, message, share=share, count=_count(value))
        else:
            self.note(key, value, "unexplained")


def _by_its_ends(key: str) -> str:
    beginnings = (message for begin, message in PREFIXES if key.startswith(begin))
    ends = (message for end, message in SUFFIXES if key.endswith(end))
    return next(beginnings, "") or next(ends, "")


def _loaded_bits(quantised: Config) -> int:
    """bitsandbytes writes its bits as switches."""
    return 4 if quantised.get("load_in_4bit") else 8 if quantised.get("load_in_8bit") else 0


def _counted(values: list[Any]) -> str:
    """`5 sliding_attention, 1 full_attention`: how often each comes, in the order of the list."""
    seen: dict[str, int] = {}
    for value in values:
        seen[str(value)] = seen.get(str(value), 0) + 1
    return ", ".join(f"{count} {value}" for value, count in seen.items())


def _long(value: Any) -> Any:
    if isinstance(value, list) and len(value) > _LONGEST_LIST:
        return _counted(value) if len(set(map(str, value))) < _LONGEST_LIST else _shortened(value)
    return value


def _shortened(values: list[Any]) -> str:
    return ", ".join(map(str, values[:_LONGEST_LIST])) + ", …"


def _count(value: Any) -> int:
    return len(value) if isinstance(value, (list, dict)) else 0


def _text(value: Any) -> str:
    """A value for people: thousands separated, booleans as in the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 and value == int(value) else f"{value:g}"
    if isinstance(value, list):
        short = _long(value)
        return short if isinstance(short, str) else ", ".join(map(_text, short))
    return "null" if value is None else str(value)
