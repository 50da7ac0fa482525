"""SGR parameters to numbered styles, and the shortest way from one style to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tui.terminal.colours import Colours


class Style(NamedTuple):
    """How a cell looks. Colours are SGR parameters of the terminal's depth, "" the default."""

    foreground: str
    background: str
    attributes: int
    link: str


PLAIN = 0
"""The number of the style that is everything off: the terminal's own colours."""

# SGR codes that switch an attribute on, in the order of their bits.
_ON = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "21", "51", "52", "53")
_BIT = {code: 1 << position for position, code in enumerate(_ON)}
# A code that switches attributes off, and which.
_OFF = {
    "22": _BIT["1"] | _BIT["2"],
    "23": _BIT["3"],
    "24": _BIT["4"] | _BIT["21"],
    "25": _BIT["5"] | _BIT["6"],
    "27": _BIT["7"],
    "28": _BIT["8"],
    "29": _BIT["9"],
    "54": _BIT["51"] | _BIT["52"],
    "55": _BIT["53"],
}
# Attributes that can be seen on a space.
_ON_A_SPACE = sum(_BIT[code] for code in ("4", "7", "9", "21", "51", "52", "53"))
_REMEMBERED = 20_000


class Styles:
    """The table of styles in use. A style is named by its place in the table.

    The event loop adds styles while the writer thread reads them: entries never change or move.
    """

    def __init__(self, colours: Colours) -> None:
        self._colours = colours
        self._generation = colours.registry.generation
        self.table: list[Style] = []
        self.blank: list[int] = []
        """For each style, the one that a space in it looks like."""
        self._numbers: dict[Style, int] = {}
        self._resolved: dict[tuple[int, str], int] = {}
        self._deltas: dict[tuple[int, int], str] = {}
        self._number(Style("", "", 0, ""))

    def refresh(self) -> None:
        """Forget remembered colours if a theme registered new ones."""
        if self._generation != self._colours.registry.generation:
            self._generation = self._colours.registry.generation
            self._resolved.clear()

    def sgr(self, current: int, parameters: str) -> int:
        """The style after `CSI parameters m` in the current one."""
        key = (current, parameters)
        found = self._resolved.get(key)
        if found is None:
            if len(self._resolved) > _REMEMBERED:
                self._resolved.clear()
            found = self._resolved[key] = self._number(self._apply(self.table[current], parameters))
        return found

    def linked(self, current: int, link: str) -> int:
        """The style after an OSC 8 sequence; `link` is its "parameters;address", "" to end it."""
        return self._number(self.table[current]._replace(link=link))

    def delta(self, old: int | None, new: int) -> str:
        """The shortest sequence that turns the terminal's style into another.

        Args:
            old: The style that the terminal has, None if unknown.
            new: The style wanted.
        """
        if old == new:
            return ""
        key = (-1 if old is None else old, new)
        found = self._deltas.get(key)
        if found is None:
            if len(self._deltas) > _REMEMBERED:
                self._deltas.clear()
            found = self._deltas[key] = self._delta(old, new)
        return found

    def _number(self, style: Style) -> int:
        number = self._numbers.get(style)
        if number is None:
            seen = style.attributes & _ON_A_SPACE
            # A link is shown by many terminals on spaces too, with the text's colour.
            blank = Style(
                style.foreground if seen or style.link else "", style.background, seen, style.link
            )
            # The blank twin goes first: whoever finds a style finds its twin.
            twin = None if blank == style else self._number(blank)
            number = len(self.table)
            self.blank.append(number if twin is None else twin)
            self.table.append(style)
            self._numbers[style] = number
        return number

    def _apply(self, style: Style, parameters: str) -> Style:
        foreground, background, attributes, link = style
        codes = iter(parameters.split(";"))
        for code in codes:
            code, _, detail = code.partition(":")
            if code in ("", "0", "00"):
                foreground, background, attributes = "", "", 0
            elif code in ("38", "48", "58"):
                colour = self._extended(code == "48", detail, codes)
                if code == "38":
                    foreground = colour
                elif code == "48":
                    background = colour
            elif code == "39":
                foreground = ""
            elif code == "49":
                background = ""
            elif code == "4" and detail == "0":
                attributes &= ~_OFF["24"]
            elif code in _BIT:
                attributes |= _BIT[code]
            elif code in _OFF:
                attributes &= ~_OFF[code]
            elif code.isdigit():
                number = int(code)
                if 30 <= number <= 37 or 90 <= number <= 97:
                    index = number - 30 if number < 90 else number - 82
                    foreground = self._colours.from_index(index, background=False)
                elif 40 <= number <= 47 or 100 <= number <= 107:
                    index = number - 40 if number < 100 else number - 92
                    background = self._colours.from_index(index, background=True)
        return Style(foreground, background, attributes, link)

    def _extended(self, background: bool, detail: str, codes: Iterator[str]) -> str:
        """The colour of `38;5;n`, `38;2;r;g;b`, `38:5:n` or `38:2::r:g:b`; "" if malformed."""
        if detail:
            values = detail.split(":")
            kind, rest = values[0], values[-3:] if values[0] == "2" else values[1:2]
        else:
            kind = next(codes, "")
            rest = [next(codes, "") for _ in range({"2": 3, "5": 1}.get(kind, 0))]
        numbers = [min(int(value), 255) if value.isdigit() else 0 for value in rest]
        if kind == "2" and len(numbers) == 3:
            return self._colours.from_rgb((numbers[0], numbers[1], numbers[2]), background)
        if kind == "5" and len(numbers) == 1:
            return self._colours.from_index(numbers[0], background)
        return ""

    def _delta(self, old: int | None, new: int) -> str:
        wanted = self.table[new]
        full = [_ON[bit] for bit in range(len(_ON)) if wanted.attributes >> bit & 1]
        full += [colour for colour in (wanted.foreground, wanted.background) if colour]
        reset = f"\x1b[;{';'.join(full)}m" if full else "\x1b[m"
        link = f"\x1b]8;{wanted.link or ';'}\x1b\\"
        if old is None:
            return reset + (link if wanted.link else "")
        had = self.table[old]
        attributes = had.attributes
        steps: list[str] = []
        for code, bits in _OFF.items():
            if attributes & ~wanted.attributes & bits:
                steps.append(code)
                attributes &= ~bits
        steps += [
            _ON[bit] for bit in range(len(_ON)) if wanted.attributes & ~attributes & (1 << bit)
        ]
        if had.foreground != wanted.foreground:
            steps.append(wanted.foreground or "39")
        if had.background != wanted.background:
            steps.append(wanted.background or "49")
        change = f"\x1b[{';'.join(steps)}m" if steps else ""
        shortest = reset if len(reset) < len(change) else change
        return shortest + (link if had.link != wanted.link else "")
