"""How thoughts and tool calls are written into the text."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class ThoughtGroup:
    """Thoughts and tool formats."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
