"""Weights held in fewer bits: what the loader is told, and what is replaced after loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.models.precision import Precision


def quantisation_options(
    folder: Path, config: Any, precision: Precision, device: str, for_training: bool
) -> dict[str, Any]:
    """What `from_pretrained` is told about quantising the weights in `folder`."""
    return {}


def quantise_linears(model: Any, config: Any, precision: Precision) -> Any:
    """The loaded model with its linear layers quantised where no loader does it."""
    return model
