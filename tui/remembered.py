"""What the screen remembers between starts: the form, the language, the theme, the last model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from engine.paths import state_dir
from engine.runs.atomic import write_atomic


@dataclass
class Remembered:
    """`form` is the flat run description as it stood; the rest are the screen's own choices."""

    form: dict[str, Any] = field(default_factory=dict)
    language: str = ""
    theme: str = ""
    models: list[str] = field(default_factory=list)
    chat_system: str = ""


def _file() -> Path:
    return state_dir() / "screen.json"


def recall() -> tuple[Remembered, str]:
    """What was remembered, and a sentence where the file could not be read."""
    path = _file()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Remembered(), ""
    except (OSError, ValueError) as error:
        return Remembered(), f"{path} can't be read ({error}); the form starts from its defaults."
    if not isinstance(record, dict):
        return Remembered(), f"{path} does not hold the screen's state; it is begun anew."
    blank = Remembered()
    for item in fields(Remembered):
        value = record.get(item.name)
        # What another version kept in another shape is left at its default.
        if isinstance(value, type(getattr(blank, item.name))):
            setattr(blank, item.name, value)
    return blank, ""


def remember(what: Remembered) -> str:
    """Write it down; a sentence where that failed (a full disk must not stop the screen)."""
    try:
        write_atomic(_file(), json.dumps(asdict(what), ensure_ascii=False, indent=1))
    except OSError as error:
        return f"The form could not be remembered in {_file()}: {error.strerror or error}."
    return ""
