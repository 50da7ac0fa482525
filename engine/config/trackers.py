"""Services that a run reports its curves to."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class TrackerGroup:
    """Trackers and their projects."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
