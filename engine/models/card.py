"""What a model is, from its config.json and the headers of its weights: no torch, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.models.architecture import count, head_dim, is_output_layer, is_tied, tensor_shapes
from engine.models.demo import DEMO_NAME, demo_folder, demo_ready
from engine.models.explain import FieldNote, explain_config
from engine.models.folder import read_json
from engine.models.headers import read_tensors, weight_files
from engine.models.licence import licence_of
from engine.models.locate import short_name
from engine.models.quantised.shapes import whole_shapes
from engine.problem import BadInput, Problem


@dataclass(frozen=True)
class ModelCard:
    """A model in numbers. `parameters` counts tied embeddings once; `context` is in tokens.

    `template` is chatml, own template or none (a base model). `dtype` is what the weights are
    stored in, `size_bytes` their size on disk, `licence` what its files say. `shapes` holds every
    tensor, for the arithmetic of memory and trainable parameters. `fields` explains the config, one
    sentence a field.
    """

    name: str
    architecture: str
    family: str
    parameters: int
    context: int
    vocab: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    dtype: str
    template: str
    size_bytes: int
    fields: tuple[FieldNote, ...] = ()
    quantised: str = ""
    licence: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)


def read_card(folder: Path, name: str | None = None) -> ModelCard:
    """The card of a model folder. Raises `BadInput` where config.json or the weights are broken."""
    config = read_json(folder / "config.json")
    return card_of(
        config,
        name or short_name(folder),
        template=_template_of(folder),
        size_bytes=sum(file.stat().st_size for file in weight_files(folder) if file.is_file()),
        folder=folder,
        licence=licence_of(folder),
    )


def demo_card() -> ModelCard:
    """The demo model's card, also before it was fetched."""
    if demo_ready():
        return read_card(demo_folder(), DEMO_NAME)
    return card_of(_DEMO_CONFIG, DEMO_NAME, template="chatml", size_bytes=269_060_552)


def card_of(
    config: Mapping[str, Any],
    name: str,
    *,
    template: str = "none",
    size_bytes: int = 0,
    folder: Path | None = None,
    licence: str = "",
) -> ModelCard:
    """A card from a config alone; `folder` gives the tensors of families not known by arithmetic.

    Raises `BadInput` for an unknown family without weights to read.
    """
    text = text_config(config)
    shapes = tensor_shapes(text) if text is config else None
    if shapes is None:
        shapes = _stored_shapes(folder, is_tied(text), config.get("quantization_config"))
    if not shapes:
        raise BadInput(
            Problem(
                f"The size of a {text.get('model_type', 'nameless')} model can't be told from its "
                "config.json, and there are no weights to read it from.",
                str(folder or name),
                "Copy the weights beside the config.",
            )
        )
    parameters = sum(count(shape) for shape in shapes.values())
    architectures = config.get("architectures") or ["?"]
    heads = _number(text, "num_attention_heads", "n_head", "num_heads")
    quantisation = config.get("quantization_config")
    return ModelCard(
        name=name,
        architecture=str(architectures[0]),
        family=str(config.get("model_type", "?")),
        parameters=parameters,
        context=_number(text, "max_position_embeddings", "n_positions", "n_ctx", "seq_length"),
        vocab=_number(text, "vocab_size"),
        layers=_number(text, "num_hidden_layers", "n_layer", "num_layers"),
        hidden=_number(text, "hidden_size", "n_embd", "d_model"),
        intermediate=_number(text, "intermediate_size", "n_inner", "ffn_dim")
        or 4 * _number(text, "hidden_size", "n_embd", "d_model"),
        heads=heads,
        kv_heads=_number(text, "num_key_value_heads") or heads,
        head_dim=head_dim(text),
        tied=is_tied(text),
        dtype=stored_dtype(config, folder),
        template=template,
        size_bytes=size_bytes,
        fields=explain_config(config, parameters),
        quantised=str(quantisation.get("quant_method", "yes"))
        if isinstance(quantisation, dict)
        else "",
        licence=licence,
        shapes=shapes,
    )


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model (vision models nest it)."""
    for key in ("text_config", "llm_config", "language_config"):
        inner = config.get(key)
        if isinstance(inner, dict) and inner.get("hidden_size"):
            return inner
    return config


_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def stored_dtype(config: Mapping[str, Any], folder: Path | None) -> str:
    """What most weights are stored in: from the config, else from the first weight file."""
    told = config.get("dtype") or config.get("torch_dtype")
    if isinstance(told, str):
        return told
    if folder is not None and weight_files(folder):
        sizes: dict[str, int] = {}
        for info in read_tensors(folder).values():
            sizes[info.dtype] = sizes.get(info.dtype, 0) + info.elements
        if sizes:
            name = max(sizes, key=lambda dtype: sizes[dtype])
            return _DTYPES.get(name, name.lower())
    return "float32"


def _stored_shapes(
    folder: Path | None, tied: bool, packed: Mapping[str, Any] | None
) -> dict[str, tuple[int, ...]]:
    if folder is None:
        return {}
    tensors = read_tensors(folder)
    shapes = (
        whole_shapes(tensors, packed)
        if isinstance(packed, Mapping)
        else {name: info.shape for name, info in tensors.items()}
    )
    return {n: shape for n, shape in shapes.items() if not (tied and is_output_layer(n))}


def _template_of(folder: Path) -> str:
    text = ""
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        text = jinja.read_text(encoding="utf-8", errors="replace")
    else:
        for name in ("tokenizer_config.json", "chat_template.json"):
            if (folder / name).is_file():
                text = text or str(read_json(folder / name).get("chat_template") or "")
    if not text:
        return "none"
    return "chatml" if "<|im_start|>" in text else "own template"


def _number(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0


_DEMO_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "dtype": "bfloat16",
    "eos_token_id": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 576,
    "initializer_range": 0.02,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": 49152,
}
