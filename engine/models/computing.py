"""How a model computes: its attention kernel, the scaling of its positions, fused kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_ATTENTION = {"auto": "sdpa", "sdpa": "sdpa", "disabled": "eager"}


def computing_options(folder: Path, config: Any, device: str, for_training: bool) -> dict[str, Any]:
    """What `from_pretrained` is told about the way the model in `folder` computes."""
    return {"attn_implementation": _ATTENTION[config.flash_attn]}


def ready_to_compute(model: Any, config: Any, for_training: bool) -> None:
    """Change a loaded model, in place, so that it computes as `config` says."""
