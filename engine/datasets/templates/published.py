"""The chat template of a tokenizer that is published on the Hugging Face hub."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

_FILES = ("chat_template.jinja", "tokenizer_config.json")


@lru_cache(maxsize=8)
def published_template(repo: str, fetch: bool = True) -> str | None:
    """The chat template of `repo`, from the hub's cache or, with `fetch`, from the hub itself.

    None where it can't be had: no network, a gated repository, a tokenizer without one.
    """
    for name in _FILES:
        file = _file(repo, name, fetch)
        if file is None:
            continue
        text = file.read_text(encoding="utf-8")
        if name.endswith(".jinja"):
            return text
        template = _default_of(text)
        if template is not None:
            return template
    return None


def _file(repo: str, name: str, fetch: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    kept = try_to_load_from_cache(repo, name)
    if isinstance(kept, str):
        return Path(kept)
    if not fetch:
        return None
    try:
        return Path(hf_hub_download(repo, name, etag_timeout=5))
    except (OSError, ValueError, RuntimeError):
        return None


def _default_of(config: str) -> str | None:
    try:
        value = json.loads(config).get("chat_template")
    except (ValueError, AttributeError):
        return None
    if isinstance(value, str):
        return value
    for item in value if isinstance(value, list) else ():
        if item.get("name") == "default":
            return str(item.get("template"))
    return None
