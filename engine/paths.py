"""Every place on disk that finetui uses, in one file."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
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
    """Library output that belongs to no run (the terminal never sees it). Where the folder can't be
    written (a home that is read-only), a file of this process in the system's temporary folder."""
    return log_in(state_dir())


@cache
def log_in(folder: Path) -> Path:
    """The log in `folder`, which is made; elsewhere where it can't be written. The answer stands
    while the process lives."""
    log = folder / "finetui.log"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return log
    from tempfile import mkdtemp  # here, as opening the screen has no time for it

    return Path(mkdtemp(prefix="finetui-")) / log.name


def default_dataset_dir() -> Path:
    """`./data` where it holds a registry, else the bundled sets."""
    here = Path("data")
    return here if (here / "dataset_info.json").is_file() else bundled_data_dir()
