"""Colour by role: theme files, the theme in use, and its colours at each depth."""

from __future__ import annotations

from tui.theme.current import (
    current_theme,
    depth_map,
    on_theme_change,
    set_current_theme,
    style,
    to_textual_theme,
)
from tui.theme.loader import BrokenTheme, load_theme, read_theme, theme_names
from tui.theme.locate import themes_dir
from tui.theme.roles import FALLBACK, RGB, ROLES, Shade, Theme

__all__ = [
    "FALLBACK",
    "RGB",
    "ROLES",
    "BrokenTheme",
    "Shade",
    "Theme",
    "current_theme",
    "depth_map",
    "load_theme",
    "on_theme_change",
    "read_theme",
    "set_current_theme",
    "style",
    "theme_names",
    "themes_dir",
    "to_textual_theme",
]
