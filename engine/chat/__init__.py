"""Talking to a model: one answer at a time, shown as it is written."""

from __future__ import annotations

from engine.chat.chatter import Chatter

__all__ = ["Chatter"]
