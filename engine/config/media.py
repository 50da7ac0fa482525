"""Pictures beside the text: sizes, and which parts of the model are trained."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class MediaGroup:
    """Pictures, video, sound."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
