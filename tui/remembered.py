"""What the screen remembers between starts: the form, the language, the theme, the last model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from engine.paths import state_dir
from engine.runs.atomic import write_atomic
from tui.language import _


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
        told = _("{file} can't be read ({why}); the form starts from its defaults.")
        return Remembered(), told.format(file=path, why=error)
    if not isinstance(record, dict):
        told = _("{file} does not hold the screen's state; it is begun anew.")
        return Remembered(), told.format(file=path)
    blank = Remembered()
    for item in fields(Remembered):
        value = record.get(item.name)
        # What another version kept in another shape is left at its default.
        if isinstance(value, type(getattr(blank, item.name))):
            setattr(blank, item.name, value)
    return blank, ""


def log_fault(log: Path) -> str:
    """A sentence where the program's log had to go elsewhere: then nothing is remembered either."""
    folder = state_dir()
    if log.parent == folder:
        return ""
    told = _("{folder} can't be written: the form is not kept, and the log goes to {file}.")
    return told.format(folder=folder, file=log)


def remember(what: Remembered) -> str:
    """Write it down; a sentence where that failed (a full disk must not stop the screen)."""
    try:
        write_atomic(_file(), json.dumps(asdict(what), ensure_ascii=False, indent=1))
    except OSError as error:
        told = _("The form could not be remembered in {file}: {why}.")
        return told.format(file=_file(), why=error.strerror or error)
    return ""
