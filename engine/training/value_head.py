"""The head's file, where training looks for it: see `engine.models.value_head`."""

from __future__ import annotations

from engine.models.value_head import FILE, read_value_head, write_value_head

__all__ = ["FILE", "read_value_head", "write_value_head"]
