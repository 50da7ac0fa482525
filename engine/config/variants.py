"""Variants of LoRA, OFT, and added blocks (LLaMA Pro)."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class VariantGroup:
    """Where an adapter starts, how it is scaled, and what is added."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
