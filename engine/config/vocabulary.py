"""Tokens that are added to the vocabulary, and how their embeddings start."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group


@group
class VocabularyGroup:
    """New tokens."""


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS: tuple[Any, ...] = ()
