"""ModelScope: where it is reached, where its downloads lie, how it calls its main branch."""

from __future__ import annotations

import os
from pathlib import Path

from engine.installed import is_installed

MASTER = "master"


def ms_endpoint() -> str:
    """MODELSCOPE_ENDPOINT, else the hub itself."""
    return (os.environ.get("MODELSCOPE_ENDPOINT") or "https://modelscope.cn").rstrip("/")


def ms_installed() -> bool:
    """Whether the client, an extra, is there."""
    return is_installed("modelscope_hub")


def ms_cache_dir(cache_dir: str | None = None) -> Path:
    """Where ModelScope downloads go: the setting, else MODELSCOPE_CACHE, else ~/.cache."""
    named = cache_dir or os.environ.get("MODELSCOPE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "modelscope"
