"""The model card of an export: README.md with the front matter that the hub reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def auto_class(scores: bool, sees: bool, hears: str) -> str:
    """The class of transformers that loads an export: `scores` tells that it is a reward model,
    `sees` that it reads pictures, `hears` is the auto class of one that reads sounds."""
    if sees:
        return "AutoModelForImageTextToText"
    if hears:
        return hears
    return "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM"


def export_card(
    name: str,
    base: str,
    adapters: list[str],
    dtype: str,
    parameters: int,
    license_name: str | None,
    scores: bool = False,
    sees: bool = False,
    hears: str = "",
) -> str:
    """The card of the model `name`, made from `base` (a hub id or a name) and `adapters`; the rest
    is that of `auto_class`.
    """
    import yaml

    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if scores else "text-generation",
        "base_model": base,
        "tags": ["finetui"],
    }
    if license_name:
        front["license"] = license_name
    made = f"{_plain(base)} with the adapter {_plain(', '.join(adapters))} merged into it"
    if not adapters:
        made = f"{_plain(base)}, written anew"
    kind = auto_class(scores, sees, hears)
    reads, name_of_it = "AutoTokenizer", "tokenizer"
    if sees or hears:
        reads, name_of_it = "AutoProcessor", "processor"
    if sees:
        front["pipeline_tag"] = "image-text-to-text"
    elif hears:
        front["pipeline_tag"] = "audio-text-to-text"
    use = ["With Ollama: `ollama create NAME -f Modelfile`.", ""]
    if scores:
        use = ["A reward model: the one logit of a conversation is its score.", ""]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {_plain(name)}",
        "",
        f"{made}, by finetui: {parameters:,} parameters in {dtype}.",
        "",
        "```python",
        f"from transformers import {kind}, {reads}",
        "",
        f'model = {kind}.from_pretrained(".")',
        f'{name_of_it} = {reads}.from_pretrained(".")',
        "```",
        "",
        *use,
    ]
    return "\n".join(lines)


def license_of(folder: Path) -> str | None:
    """The licence that the front matter of the base's own card names."""
    import yaml

    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---", 2)[1]) if text.startswith("---") else None
    except (OSError, UnicodeDecodeError, IndexError, yaml.YAMLError):
        return None  # no card, or one without a readable head: then none is named
    found = front.get("license") if isinstance(front, dict) else None
    return found if isinstance(found, str) else None


def _plain(text: str) -> str:
    """Text from outside in one line of Markdown, nothing of it read as markup."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for mark in "\\`*_{}[]<>|#":
        flat = flat.replace(mark, f"\\{mark}")
    return flat
