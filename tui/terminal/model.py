"""What Textual wants on the screen: its output, read into a grid of cells.

Textual's compositor (`LayoutUpdate`, `ChopsUpdate` in `textual/_compositor.py`) writes absolute
moves, SGR, text, OSC 8 links and newlines; the drivers and the app write mode sets, queries, title,
clipboard and bell. The first kind changes the grid. The second kind is kept, in order, to be sent
as it is.
"""

from __future__ import annotations

import re

from tui.terminal.cells import cells_of
from tui.terminal.styles import PLAIN, Styles

_TOKEN = re.compile(
    r"([^\x00-\x1f\x7f-\x9f]+)"  # 1 text
    r"|\x1b\[([0-9;:]*)m"  # 2 SGR
    r"|\x1b\[([0-9;]*)([@-~])"  # 3, 4 CSI without private marks
    r"|\x1b\]8;([^;\x07\x1b]*;[^\x07\x1b]*)(?:\x1b\\|\x07)"  # 5 link
    r"|(\x1b\[[0-?]*[ -/]*[@-~])"  # 6 any other CSI
    r"|(\x1b[\]P^_X][^\x07\x1b]*(?:\x1b\\|\x07))"  # 7 OSC, DCS, PM, APC, SOS
    r"|(\x1b[ -/]*[0-OQ-WYZ`-~\\=>])"  # 8 other escapes
    r"|([\x00-\x1f\x7f-\x9f])"  # 9 control character
)
_TEXT, _SGR, _CSI, _LINK, _PRIVATE, _STRING, _ESCAPE, _CONTROL = 1, 2, 4, 5, 6, 7, 8, 9

# Sequences that change neither cells nor cursor: queries and window reports.
_HARMLESS_CSI = frozenset("nctx")
_HARMLESS_ESCAPE = re.compile(r"\x1b[=>\\]|\x1b[()*+].|\x1b%.")
_LONGEST_HELD = 4 << 20  # an unfinished clipboard string; beyond it something is wrong


class ScreenModel:
    """The grid that Textual asked for and the sequences that are no cells.

    Not locked: `Output` does that. Rows are lists of `width` strings (a wide character, then "")
    and lists of `width` style numbers.
    """

    def __init__(
        self, width: int, height: int, styles: Styles, *, ascii_only: bool = False
    ) -> None:
        self.styles = styles
        self.ascii_only = ascii_only
        self.cursor_x = 0
        self.cursor_y = 0
        self.dirty: set[int] = set()
        """Rows changed since the writer took them."""
        self.reset_wanted = True
        """The terminal's content is unknown: clear it and send everything."""
        self.active = False
        """In the alternate screen: cells are sent."""
        self.in_sync = False
        """Between the start and the end of a synchronised update."""
        self.sync_supported = False
        self._style = PLAIN
        self._held = ""
        self._passed: list[str] = []
        self.width = self.height = 0
        self.chars: list[list[str]] = []
        self.numbers: list[list[int]] = []
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """Take a new size; what fits of the content stays until Textual draws again."""
        old_chars, old_numbers = self.chars, self.numbers
        width, height = max(width, 1), max(height, 1)
        keep = min(width, self.width)
        self.width, self.height = width, height
        self.chars = [[" "] * width for _ in range(height)]
        self.numbers = [[PLAIN] * width for _ in range(height)]
        for y in range(min(height, len(old_chars))):
            self.chars[y][:keep] = old_chars[y][:keep]
            self.numbers[y][:keep] = old_numbers[y][:keep]
            if 0 < keep < len(old_chars[y]) and old_chars[y][keep] == "":
                self.chars[y][keep - 1] = " "
        self.cursor_x = min(self.cursor_x, max(width - 1, 0))
        self.cursor_y = min(self.cursor_y, max(height - 1, 0))
        self.repaint()

    def repaint(self) -> None:
        """Have the whole screen sent again."""
        self.reset_wanted = True
        self.dirty = set(range(self.height))

    def take_passed(self) -> str:
        """The sequences to be sent as they are, once."""
        passed, self._passed = "".join(self._passed), []
        return passed

    @property
    def has_passed(self) -> bool:
        """True if sequences wait to be sent as they are."""
        return bool(self._passed)

    def feed(self, data: str) -> None:
        """Read a piece of Textual's output. A sequence may go on in the next piece."""
        self.styles.refresh()
        if self._held:
            data, self._held = self._held + data, ""
        sgr, resolved = self.styles.sgr, self.styles._resolved
        for token in _TOKEN.finditer(data):
            kind = token.lastindex
            if kind == _TEXT:
                self._text(token[1])
            elif kind == _SGR:
                key = (self._style, token[2])
                style = resolved.get(key)
                self._style = sgr(*key) if style is None else style
            elif kind == _CSI:
                self._csi(token[3], token[4], token[0])
            elif kind == _CONTROL:
                control = token[9]
                if control == "\x1b":
                    # No complete sequence starts here: its rest comes with the next piece.
                    held = data[token.start() :]
                    if len(held) <= _LONGEST_HELD:
                        self._held = held
                        return
                self._control(control)
            elif kind == _LINK:
                link = token[5]
                self._style = self.styles.linked(self._style, "" if link[-1] == ";" else link)
            elif kind == _PRIVATE:
                self._private(token[6])
            elif kind == _STRING:
                self._passed.append(token[7])
            elif _HARMLESS_ESCAPE.fullmatch(token[8]):
                self._passed.append(token[8])
            else:
                self._unknown(token[8])

    def _text(self, text: str) -> None:
        cells: list[str] | tuple[str, ...]
        if text.isascii():
            cells = list(text)
        else:
            marks, cells = cells_of(text, self.ascii_only)
            if marks:
                self._mark(marks)
        count = len(cells)
        x, y = self.cursor_x, self.cursor_y
        if not count or y >= self.height:
            return
        end = x + count
        if end > self.width:
            cells = _fit(cells, x, self.width)
            x = min(x, self.width - 1)
            end = self.width
            count = end - x
        row = self.chars[y]
        # Half a wide character overwritten: the other half becomes a space.
        if row[x] == "" and x:
            row[x - 1] = " "
        if end < self.width and row[end] == "":
            row[end] = " "
        row[x:end] = cells
        style = self._style
        if style and text.isspace():
            style = self.styles.blank[style]
        self.numbers[y][x:end] = [style] * count
        self.cursor_x = end
        self.dirty.add(y)

    def _mark(self, marks: str) -> None:
        """Combining marks at the start of a text belong to the cell on its left."""
        x, y = self.cursor_x - 1, self.cursor_y
        if x < 0 or y >= self.height:
            return
        row = self.chars[y]
        x -= row[x] == ""
        if len(row[x]) + len(marks) <= 16:
            row[x] += marks
            self.dirty.add(y)

    def _csi(self, parameters: str, final: str, sequence: str) -> None:
        if final == "H" or final == "f":
            row, _, column = parameters.partition(";")
            self._to(int(column or 1) - 1, int(row or 1) - 1)
        elif final in _HARMLESS_CSI:
            self._passed.append(sequence)
        elif final in "ABCDEFGd`" and ";" not in parameters:
            self._relative(max(int(parameters or 1), 1), final)
        elif final == "J" or final == "K":
            self._erase(final, int(parameters or 0), sequence)
        else:
            self._unknown(sequence)

    def _to(self, x: int, y: int) -> None:
        self.cursor_x = min(max(x, 0), self.width - 1)
        self.cursor_y = min(max(y, 0), self.height - 1)

    def _relative(self, count: int, final: str) -> None:
        x, y = min(self.cursor_x, self.width - 1), self.cursor_y
        if final in "AF":
            y -= count
        elif final in "BE":
            y += count
        elif final == "C":
            x += count
        elif final == "D":
            x -= count
        elif final == "d":
            y = count - 1
        else:
            x = count - 1
        self._to(0 if final in "EF" else x, y)

    def _erase(self, final: str, which: int, sequence: str) -> None:
        x, y = min(self.cursor_x, self.width - 1), self.cursor_y
        if which > 2:
            self._unknown(sequence)
            return
        start, end = (0 if which else x), (x + 1 if which == 1 else self.width)
        self._blank(y, start, end)
        if final == "J":
            for other in range(0 if which else y + 1, y if which == 1 else self.height):
                if other != y:
                    self._blank(other, 0, self.width)

    def _blank(self, y: int, start: int, end: int) -> None:
        row = self.chars[y]
        if start and row[start] == "":
            row[start - 1] = " "
        if end < self.width and row[end] == "":
            row[end] = " "
        row[start:end] = [" "] * (end - start)
        # Terminals erase with the background of the moment.
        background = self.styles.table[self._style].background
        erased = self.styles.sgr(PLAIN, background) if background else PLAIN
        self.numbers[y][start:end] = [erased] * (end - start)
        self.dirty.add(y)

    def _control(self, control: str) -> None:
        if control == "\n":
            # The terminal's line discipline makes a return and a line feed of it.
            self.cursor_x = 0
            if self.cursor_y < self.height - 1:
                self.cursor_y += 1
            else:
                self._scroll()
        elif control == "\r":
            self.cursor_x = 0
        elif control == "\b":
            self.cursor_x = max(min(self.cursor_x, self.width - 1) - 1, 0)
        elif control == "\t":
            self._to((self.cursor_x // 8 + 1) * 8, self.cursor_y)
        elif control == "\a":
            self._passed.append(control)
        # Every other one can only do harm, and takes no cell in Textual's layout: dropped.

    def _scroll(self) -> None:
        self.chars.append([" "] * self.width)
        self.numbers.append([PLAIN] * self.width)
        del self.chars[0], self.numbers[0]
        self.dirty.update(range(self.height))

    def _private(self, sequence: str) -> None:
        if sequence == "\x1b[?2026h":
            # The writer brackets what it sends by itself.
            self.in_sync = self.sync_supported = True
            return
        if sequence == "\x1b[?2026l":
            self.in_sync = False
            return
        if sequence[2] == "?" and sequence[-1] in "hl":
            modes = sequence[3:-1].split(";")
            if not {"1049", "1047", "47"}.isdisjoint(modes):
                self.active = sequence[-1] == "h"
                self.in_sync = False
                if self.active:
                    self.repaint()
        self._passed.append(sequence)

    def _unknown(self, sequence: str) -> None:
        self._passed.append(sequence)
        self.repaint()


def _fit(cells: list[str] | tuple[str, ...], x: int, width: int) -> list[str]:
    """Cells that would pass the right edge: without wrapping, the last takes the last column."""
    room = max(width - x, 1)
    last = cells[-1]
    # A wide character has no room in the last column alone.
    fitted = [*cells[: room - 1], last if last else " "]
    if len(fitted) > 1 and cells[room - 1] == "":
        fitted[-2] = " "
    return fitted
