"""The files beside the weights: configs, tokenizer, chat template, licence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.folder import read_json
from engine.models.rope import Scaling, into_config

if TYPE_CHECKING:
    from engine.datasets import Encoder

_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt", "tekken.json",
    "*.tiktoken", "chat_template.jinja", "chat_template.json", "additional_chat_templates",
)  # fmt: skip
_MODEL = (
    "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json",
    "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip


def copy_companions(model: Path, texts: Path, into: Path, own_code: bool) -> None:
    """Copy what belongs to the model, and the tokenizer from `texts`.

    Only known names: a run's folder holds logs and optimiser states too. `own_code` takes the
    Python files along that the model's config points to.
    """
    for pattern in (*_MODEL, *(("*.py",) if own_code else ())):
        _copy(model, pattern, into)
    for pattern in _TOKENIZER:
        _copy(texts, pattern, into)


def write_configs(
    model: Path,
    into: Path,
    dtype: str,
    untied: bool,
    vocabulary: int | None,
    encoder: Encoder,
    rope: Scaling | None = None,
) -> dict[str, Any]:
    """Write config.json and generation_config.json; returns the first.

    The base's, but for the number type, a head that stands alone now, a vocabulary that has grown,
    and the ids that end an answer: with all of them `generate` stops where the template does.
    `vocabulary` is the embedding's rows where they are known to have changed, `rope` how positions
    are scaled where an adapter was trained so.
    """
    config = read_json(model / "config.json")
    inner = config.get("text_config")
    places = [config, inner] if isinstance(inner, dict) else [config]
    named = False
    for place in places:
        for key in ("dtype", "torch_dtype"):
            if key in place:
                place[key] = dtype
                named = True
        if untied and (place is config or "tie_word_embeddings" in place):
            place["tie_word_embeddings"] = False
        if vocabulary is not None and isinstance(place.get("vocab_size"), int):
            place["vocab_size"] = vocabulary
    if not named:
        config["dtype"] = dtype
    if rope is not None:
        into_config(config, rope)
    _write(into / "config.json", config)
    path = model / "generation_config.json"
    generation: dict[str, Any] = {"_from_model_config": True}
    if path.is_file():
        generation = read_json(path)
    told = generation.get("eos_token_id", config.get("eos_token_id"))
    ends = [i for i in (told if isinstance(told, list) else [told]) if isinstance(i, int)]
    ends = list(dict.fromkeys([*ends, *encoder.eos_ids]))
    if ends:
        generation["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    for key in ("bos_token_id", "pad_token_id"):
        if isinstance(config.get(key), int):
            generation.setdefault(key, config[key])
    _write(into / "generation_config.json", generation)
    return config


def write_template(into: Path, encoder: Encoder, trained: bool, chosen: str | None) -> None:
    """Keep the format that the model was trained on, where its tokenizer holds another or none.

    A base model that was not trained here and has no template keeps having none.
    """
    own = encoder.tokenizer.chat_templates.get("default")
    if encoder.template_source != own and (chosen is not None or trained):
        (into / "chat_template.jinja").write_text(encoder.template_source, encoding="utf-8")


def _copy(source: Path, pattern: str, into: Path) -> None:
    for path in source.glob(pattern):
        if path.is_dir():
            shutil.copytree(path, into / path.name)
        else:
            # A hub snapshot holds links: the export gets the files.
            shutil.copyfile(path, into / path.name)


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
