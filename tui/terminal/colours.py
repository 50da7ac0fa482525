"""How many colours the terminal has, and which of them stands for a true colour.

Textual always renders in true colour; the diff layer turns each colour into the shortest
SGR code of the terminal's own depth. A theme registers, for each of its true colours, the index
it wants among 256 and among 16; a colour nobody registered goes to the nearest one of
Rich's palettes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache

from rich.color import Color, ColorSystem

Rgb = tuple[int, int, int]
Indexed = tuple[int | None, int | None]
"""The same colour among 256 and among 16; None is the terminal's own default colour."""


class Depth(IntEnum):
    """The number of colours that a terminal can show."""

    NONE = 0
    SIXTEEN = 16
    PALETTE = 256
    TRUE = 1 << 24


_BY_NAME = {
    "none": Depth.NONE,
    "0": Depth.NONE,
    "16": Depth.SIXTEEN,
    "256": Depth.PALETTE,
    "true": Depth.TRUE,
    "truecolor": Depth.TRUE,
    "truecolour": Depth.TRUE,
    "24bit": Depth.TRUE,
}
_TRUE_TERMINALS = ("kitty", "ghostty", "alacritty", "foot", "wezterm", "contour", "direct")


def choose_depth(environ: Mapping[str, str], *, no_color: bool = False) -> Depth:
    """The depth to draw in, from the environment.

    `FINETUI_COLORS` (none, 16, 256, truecolor) wins over `NO_COLOR`, which wins over
    `COLORTERM` and `TERM`.

    Args:
        environ: The process's environment.
        no_color: True if `NO_COLOR` was set and somebody took it out of the environment.
    """
    asked = _BY_NAME.get(environ.get("FINETUI_COLORS", "").strip().lower())
    if asked is not None:
        return asked
    # https://no-color.org: present and not empty.
    if no_color or environ.get("NO_COLOR"):
        return Depth.NONE
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return Depth.TRUE
    term = environ.get("TERM", "").strip().lower()
    if term in ("", "dumb", "unknown"):
        return Depth.NONE
    if any(name in term for name in _TRUE_TERMINALS):
        return Depth.TRUE
    return Depth.PALETTE if "256color" in term else Depth.SIXTEEN


class ColourRegistry:
    """What a theme wants its true colours to be on terminals of 256 and of 16 colours."""

    def __init__(self) -> None:
        self._indexed: dict[Rgb, Indexed] = {}
        self.generation = 0
        """Grows with each change, so that whoever remembers codes knows when to forget them."""

    def register(self, colours: Mapping[Rgb | str, Indexed]) -> None:
        """Add or replace colours.

        Args:
            colours: `(r, g, b)` or `"#rrggbb"` to `(index of 256, index of 16)`.

        Raises:
            ValueError: a key is no colour, or an index is out of range.
        """
        checked: dict[Rgb, Indexed] = {}
        for colour, (of_256, of_16) in colours.items():
            for index, count in ((of_256, 256), (of_16, 16)):
                if index is not None and not 0 <= index < count:
                    raise ValueError(f"{colour}: {index} is not one of {count} colours")
            checked[_rgb(colour)] = (of_256, of_16)
        self._indexed.update(checked)
        self.generation += 1

    def clear(self) -> None:
        """Forget every colour (before another theme registers its own)."""
        self._indexed.clear()
        self.generation += 1

    def index_256(self, rgb: Rgb) -> int | None:
        """The index among 256 that stands for a true colour."""
        known = self._indexed.get(rgb)
        return nearest(rgb, ColorSystem.EIGHT_BIT) if known is None else known[0]

    def index_16(self, rgb: Rgb) -> int | None:
        """The index among 16 that stands for a true colour."""
        known = self._indexed.get(rgb)
        return nearest(rgb, ColorSystem.STANDARD) if known is None else known[1]


REGISTRY = ColourRegistry()
"""The registry of the screen: a theme is known before the driver is built."""


def register_colours(colours: Mapping[Rgb | str, Indexed]) -> None:
    """Tell the terminal layer what a theme's true colours are among 256 and among 16."""
    REGISTRY.register(colours)


def _rgb(colour: Rgb | str) -> Rgb:
    if isinstance(colour, str):
        digits = colour.removeprefix("#")
        if len(digits) != 6:
            raise ValueError(f"{colour!r} is not #rrggbb")
        value = int(digits, 16)
        return value >> 16, value >> 8 & 255, value & 255
    return colour


@lru_cache(maxsize=8192)
def nearest(rgb: Rgb, system: ColorSystem) -> int:
    """The index of the colour of Rich's palette that looks most like a true colour."""
    number = Color.from_rgb(*rgb).downgrade(system).number
    assert number is not None  # a downgraded colour is always an indexed one
    return number


@lru_cache(maxsize=256)
def palette_rgb(index: int) -> Rgb:
    """The true colour of one of the 256, in Rich's palette."""
    triplet = Color.from_ansi(index).get_truecolor()
    return triplet.red, triplet.green, triplet.blue


def indexed_code(index: int | None, background: bool) -> str:
    """The shortest SGR parameters for an indexed colour; "" for the default colour."""
    if index is None:
        return ""
    if index < 8:
        return str((40 if background else 30) + index)
    if index < 16:
        return str((100 if background else 90) + index - 8)
    return f"{48 if background else 38};5;{index}"


class Colours:
    """Turns colours into SGR parameters of one depth."""

    def __init__(self, depth: Depth, registry: ColourRegistry = REGISTRY) -> None:
        self.depth = depth
        self.registry = registry

    def from_rgb(self, rgb: Rgb, background: bool) -> str:
        """SGR parameters for a true colour; "" where it becomes the default."""
        if self.depth is Depth.TRUE:
            return f"{48 if background else 38};2;{rgb[0]};{rgb[1]};{rgb[2]}"
        if self.depth is Depth.PALETTE:
            return indexed_code(self.registry.index_256(rgb), background)
        if self.depth is Depth.SIXTEEN:
            return indexed_code(self.registry.index_16(rgb), background)
        return ""

    def from_index(self, index: int, background: bool) -> str:
        """SGR parameters for one of the 256 colours; "" where it becomes the default."""
        if self.depth is Depth.NONE:
            return ""
        if self.depth is Depth.SIXTEEN and index > 15:
            return indexed_code(self.registry.index_16(palette_rgb(index)), background)
        return indexed_code(index, background)
