"""Every place on disk that finetui uses, in one file."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_state_path

_PACKAGE = Path(__file__).resolve().parent


def bundled_data_dir() -> Path:
    """The bundled dataset folder: inside the wheel, or beside the package in a checkout."""
    inside = _PACKAGE / "data"
    return inside if inside.is_dir() else _PACKAGE.parent / "data"


def cache_dir() -> Path:
    """Things that can be fetched or computed again (the demo model, row indexes)."""
    override = os.environ.get("FINETUI_CACHE")
    return Path(override) if override else user_cache_path("finetui")


def config_dir() -> Path:
    """What a person set by hand: key bindings, own themes, language."""
    override = os.environ.get("FINETUI_CONFIG")
    return Path(override) if override else user_config_path("finetui")


def state_dir() -> Path:
    """What the program remembers between starts: the form, machine measurements, its log."""
    override = os.environ.get("FINETUI_STATE")
    return Path(override) if override else user_state_path("finetui")


def saves_dir() -> Path:
    """Where runs are kept: `saves/` in the folder the program was started in."""
    return Path("saves")


def program_log() -> Path:
    """Library output that belongs to no run (the terminal never sees it)."""
    return state_dir() / "finetui.log"


def default_dataset_dir() -> Path:
    """`./data` where it holds a registry, else the bundled sets."""
    here = Path("data")
    return here if (here / "dataset_info.json").is_file() else bundled_data_dir()
