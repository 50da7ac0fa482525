"""The colour roles, and a theme: one value a role for each depth of colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ROLES = (
    "text",
    "dim",
    "accent",
    "ok",
    "warning",
    "error",
    "series1",
    "series2",
    "series3",
    "series4",
    "series5",
    "series6",
    "user",
    "assistant",
    "system",
    "tool",
)

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Shade:
    """One colour at three depths: red, green, blue (0 to 255); its index in the table of 256; its
    number among the 16. `rgb` None is the terminal's own colour, at every depth."""

    rgb: RGB | None
    index256: int = 0
    index16: int = 0

    @property
    def hex(self) -> str | None:
        """`#rrggbb`, or None for the terminal's own colour."""
        return None if self.rgb is None else "#{:02x}{:02x}{:02x}".format(*self.rgb)


TERMINAL_OWN = Shade(None)


@dataclass(frozen=True)
class Theme:
    """A colour for each role of `ROLES`. `background` None lets the terminal's own show."""

    name: str
    dark: bool
    shades: Mapping[str, Shade]
    background: Shade | None = None


# What stands in when no theme file can be read: the terminal's own text colour and the plain
# 16-colour tones, which stay legible on any background.
FALLBACK = Theme(
    name="fallback",
    dark=True,
    shades=MappingProxyType(
        {
            "text": TERMINAL_OWN,
            "dim": Shade((128, 128, 128), 244, 8),
            "accent": Shade((0, 175, 175), 37, 6),
            "ok": Shade((0, 175, 0), 34, 2),
            "warning": Shade((215, 135, 0), 172, 3),
            "error": Shade((215, 0, 0), 160, 1),
            "series1": Shade((0, 135, 215), 32, 4),
            "series2": Shade((215, 136, 0), 172, 3),
            "series3": Shade((0, 175, 135), 36, 2),
            "series4": Shade((215, 95, 175), 169, 5),
            "series5": Shade((175, 175, 0), 142, 3),
            "series6": Shade((215, 95, 0), 166, 1),
            "user": Shade((0, 135, 216), 32, 4),
            "assistant": Shade((0, 175, 136), 36, 2),
            "system": Shade((128, 128, 129), 244, 8),
            "tool": Shade((215, 95, 176), 169, 5),
        }
    ),
)
