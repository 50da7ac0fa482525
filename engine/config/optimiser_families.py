"""Optimisers that hold less than two numbers a weight, and LoRA+."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class OptimiserFamilyGroup:
    """GaLore, APOLLO, BAdam, Adam-mini, Muon, LoRA+."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
