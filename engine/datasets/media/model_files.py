"""The settings that lie in a model's folder, read as far as counting needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def settings_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where it is absent or damaged (loading the model tells)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
