"""Longer contexts, attention kernels, boosters, and number formats beyond bf16."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class ComputingGroup:
    """RoPE scaling, shifted attention, boosters, FP8."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
