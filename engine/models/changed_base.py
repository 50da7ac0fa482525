"""What an adapter's folder says of its base beside the adapter itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.models.adapter_start import began_as_pissa, save_start, start_of
from engine.models.blocks import read_expansion, save_expansion
from engine.models.folder import read_json


def save_beside(model: Any, folder: Path) -> None:
    """Write beside an adapter what its base needs: first values to take out, blocks to add.

    Nothing for a model whose base stays as it is.
    """
    start = start_of(model)
    if start is not None:
        save_start(start, folder)
    places = getattr(model, "block_expansion", None)
    if places is not None:
        save_expansion(places, folder)


def changes_its_base(adapter: Path) -> str:
    """In a word or two, what the adapter in `adapter` changed in its base; empty for nothing."""
    if read_expansion(adapter) is not None:
        return "new blocks"
    if began_as_pissa(read_json(adapter / "adapter_config.json")):
        return "PiSSA"
    return ""
