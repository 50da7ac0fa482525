"""Weights held in fewer bits while an adapter is trained on them."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class QuantisationGroup:
    """How many bits, by which library."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
