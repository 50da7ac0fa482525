"""Widgets that draw themselves; none of them knows the engine."""
