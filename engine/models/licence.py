"""The licence of a model, read from its own files: the README's front matter, else LICENSE."""

from __future__ import annotations

import re
from pathlib import Path

# First lines of licence files, and the names that hubs give them.
_FIRST_WORDS = (
    ("apache license", "apache-2.0"),
    ("mit license", "mit"),
    ("llama 2 community", "llama2"),
    ("llama 3.1 community", "llama3.1"),
    ("llama 3.2 community", "llama3.2"),
    ("llama 3.3 community", "llama3.3"),
    ("llama 4 community", "llama4"),
    ("meta llama 3 community", "llama3"),
    ("gemma terms of use", "gemma"),
    ("bsd 3-clause", "bsd-3-clause"),
    ("gnu general public license", "gpl"),
)


def licence_of(folder: Path) -> str:
    """The licence's name as the model's files tell it; empty where they don't.

    The hubs keep it in the front matter of README.md (`license: apache-2.0`; `license: other` with
    `license_name`), which is YAML between two lines of three dashes.
    """
    named = _front_matter(folder / "README.md")
    if named:
        return named
    for file in sorted(folder.glob("*")):
        if file.name.upper().startswith(("LICENSE", "LICENCE")) and file.is_file():
            return _known(file)
    return ""


def _front_matter(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.match(r"\s*---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    if found is None:
        return ""
    import yaml

    try:
        card = yaml.safe_load(found[1])
    except yaml.YAMLError:
        return ""
    if not isinstance(card, dict):
        return ""
    licence = card.get("license") or ""
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    if licence == "other":
        licence = card.get("license_name") or "other"
    return str(licence).strip()


def _known(file: Path) -> str:
    """A licence file's name by its first lines, else the file's own name."""
    head = " ".join(file.read_text(encoding="utf-8", errors="replace")[:400].lower().split())
    return next((name for words, name in _FIRST_WORDS if words in head), file.name)
