"""The shortest output that turns what the terminal shows into what it should show."""

from __future__ import annotations

from tui.terminal.cells import width_is_certain
from tui.terminal.styles import PLAIN, Styles

# A gap of unchanged cells at most this long may be printed again instead of jumped over.
_REPRINT = 6
# Trailing blanks from this number on are erased with one sequence.
_ERASE = 5


class Differ:
    """What has been sent to the terminal, cell by cell, and where its cursor and style stand."""

    def __init__(self, styles: Styles) -> None:
        self.styles = styles
        self.width = self.height = 0
        self.chars: list[list[str]] = []
        self.numbers: list[list[int]] = []
        # None: not known.
        self.row: int | None = None
        self.column: int | None = None
        self.style: int | None = None

    def reset(self, width: int, height: int) -> str:
        """Start again from a cleared screen of some size; returns what clears it."""
        self.width, self.height = width, height
        self.chars = [[" "] * width for _ in range(height)]
        self.numbers = [[PLAIN] * width for _ in range(height)]
        self.row = self.column = 0
        linked = self.style is not None and self.styles.table[self.style].link
        self.style = PLAIN
        return ("\x1b]8;;\x1b\\" if linked else "") + "\x1b[m\x1b[H\x1b[2J"

    def update_row(self, y: int, chars: list[str], numbers: list[int]) -> str:
        """What to send for one row.

        Args:
            y: The row.
            chars: Its cells: a string each, "" after a wide character.
            numbers: Their styles.
        """
        old_chars, old_numbers = self.chars[y], self.numbers[y]
        if chars == old_chars and numbers == old_numbers:
            return ""
        self.chars[y], self.numbers[y] = chars, numbers
        blank = self.styles.blank
        changed = [
            x
            for x, (char, old, number, was) in enumerate(
                zip(chars, old_chars, numbers, old_numbers, strict=True)
            )
            if char != old or (number != was and (char != " " or blank[number] != blank[was]))
        ]
        if not changed:
            return ""
        out: list[str] = []
        tail = self._plain_tail(chars, numbers)
        erase_from = -1
        in_tail = [x for x in changed if x >= tail] if changed[-1] >= tail else []
        if len(in_tail) >= _ERASE:
            erase_from = in_tail[0]
            del changed[-len(in_tail) :]
        self._changes(y, chars, numbers, changed, out)
        if erase_from >= 0:
            out.append(self.move(y, erase_from))
            if self.style is None or blank[self.style] != PLAIN:
                out.append(self.styles.delta(self.style, PLAIN))
                self.style = PLAIN
            out.append("\x1b[K")
        return "".join(out)

    def move(self, y: int, x: int) -> str:
        """The shortest sequence that places the terminal's cursor."""
        row, column = self.row, self.column
        self.row, self.column = y, x
        if row == y:
            if column == x:
                return ""
            return _along(column, x)
        absolute = "\x1b[H" if x == y == 0 else f"\x1b[{y + 1}H" if x == 0 else ""
        if not absolute:
            absolute = f"\x1b[{y + 1};{x + 1}H"
        if row is None or column is None:
            # The column is not certain at the right edge, but a return makes it so.
            return "\r\n" + _along(0, x) if row == y - 1 and x < 2 else absolute
        if column == x:
            step = y - row
            vertical = "\x1b[" + (str(abs(step)) if abs(step) > 1 else "") + "AB"[step > 0]
            return min(absolute, vertical, key=len)
        if row == y - 1:
            return min(absolute, "\r\n" + _along(0, x), key=len)
        return absolute

    def _plain_tail(self, chars: list[str], numbers: list[int]) -> int:
        """The column from which on a row is blank in the terminal's own background."""
        blank = self.styles.blank
        tail = self.width
        while tail and chars[tail - 1] == " " and blank[numbers[tail - 1]] == PLAIN:
            tail -= 1
        return tail

    def _changes(
        self, y: int, chars: list[str], numbers: list[int], changed: list[int], out: list[str]
    ) -> None:
        """Append moves, styles and cells for the changed columns of a row."""
        blank, delta, width = self.styles.blank, self.styles.delta, self.width
        written = 0  # everything left of it is up to date
        for x in changed:
            if x < written:
                continue
            if chars[x] == "":
                x -= 1
            if self.row != y or self.column != x:
                out.append(self._skip(y, x, chars, numbers))
            char, number = chars[x], numbers[x]
            style = self.style
            if number != style and (char != " " or style is None or blank[number] != blank[style]):
                out.append(delta(style, number))
                self.style = number
            out.append(char)
            written = x + 1
            if written < width and chars[written] == "":
                written += 1
            # At the right edge terminals differ in where the cursor stands.
            certain = written < width and (char.isascii() or width_is_certain(char))
            self.column = written if certain else None

    def _skip(self, y: int, x: int, chars: list[str], numbers: list[int]) -> str:
        """Go to a column: by printing the cells in between where that is shorter than a move."""
        column = self.column
        if self.row == y and column is not None and 0 < x - column <= _REPRINT:
            between = "".join(chars[column:x])
            if (
                between.isascii()
                and len(between) == x - column
                and len(between) <= len(_along(column, x))
                and all(self._fits(chars[at], numbers[at]) for at in range(column, x))
            ):
                self.column = x
                return between
        return self.move(y, x)

    def _fits(self, char: str, number: int) -> bool:
        """True if a cell can be printed in the terminal's present style."""
        style = self.style
        if style is None or number == style:
            return style is not None
        return char == " " and self.styles.blank[number] == self.styles.blank[style]


def _along(column: int | None, x: int) -> str:
    """The shortest move to a column in the same row."""
    if column == x:
        return ""
    if x == 0:
        return "\r"
    absolute = f"\x1b[{x + 1}G"
    if column is None:
        return absolute
    step = x - column
    if step > 0:
        relative = "\x1b[C" if step == 1 else f"\x1b[{step}C"
    else:
        relative = "\b" * -step if step > -4 else f"\x1b[{-step}D"
    return relative if len(relative) <= len(absolute) else absolute
