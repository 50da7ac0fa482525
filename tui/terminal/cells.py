"""Text to cells: one string a cell, a wide character followed by an empty cell."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import _is_single_cell_widths, split_graphemes

# Direction marks and overrides reorder what stands around them, also on other widgets' cells.
_BIDI = dict.fromkeys(
    [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], None
)
# Marks on one base character: more is an attack on the line above, and never a word.
_MOST_MARKS = 12

_ASCII = {
    **dict.fromkeys("─━═╌╍┄┅┈┉╴╶╸╺‐‑‒–—―⎯", "-"),
    **dict.fromkeys("│┃║┆┇┊┋╎╏╵╷╹╻▏▕▎▍▌▐❘❙❚", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘┏┓┗┛├┤┬┴┼┝┥┣┫┯┷┳┻┿╋╞╡╪╔╗╚╝╠╣╦╩╬╒╕╘╛", "+"),
    **dict.fromkeys("○◌◯◦", "o"),
    **dict.fromkeys("●◉⬤", "*"),
    **dict.fromkeys("✓✔☑", "v"),
    **dict.fromkeys("✗✘✕✖×☒", "x"),
    **dict.fromkeys("■█▉▊▋▓▇◼", "#"),
    **dict.fromkeys("▆▅▒", "="),
    **dict.fromkeys("▄▃▔▀", "-"),
    **dict.fromkeys("▂▁", "_"),
    **dict.fromkeys("░·∙•⋅", "."),
    **dict.fromkeys("▸▶▹▷›»→⟩❯⏵", ">"),
    **dict.fromkeys("◂◀◃◁‹«←⟨❮⏴", "<"),
    **dict.fromkeys("▴▲↑⌃⏶", "^"),
    **dict.fromkeys("▾▼↓⌄⏷", "v"),
    **dict.fromkeys("◆◇", "*"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”″", '"'),
    "…": ".",
    "⏎": "$",
    "↵": "$",
    "≈": "~",
    "±": "~",
    "÷": "/",
    "≤": "<",
    "≥": ">",
    "°": "o",
    "µ": "u",
    "⣿": "#",
    "\u2800": " ",
    "\u00a0": " ",
}


@lru_cache(maxsize=8192)
def ascii_cell(cell: str, width: int) -> str:
    """What stands for a cell on a terminal without UTF-8: ASCII of the same width."""
    if cell.isascii():
        return cell
    first = cell[0]
    if width == 2:
        return "??"
    if first in _ASCII:
        return _ASCII[first]
    if 0x2800 <= ord(first) <= 0x28FF:
        return _braille(ord(first) - 0x2800)
    base = unicodedata.normalize("NFKD", first)[:1]
    return base if base.isascii() and base.isprintable() else "?"


def _braille(dots: int) -> str:
    """The ASCII character whose ink is about where the dots of a braille pattern are."""
    # Dots 1, 4 are the top row; 2, 5 and 3, 6 the middle; 7, 8 the bottom.
    top, middle, bottom = dots & 0x09, dots & 0x36, dots & 0xC0
    if bin(dots).count("1") >= 6:
        return "#"
    if top and bottom:
        return "|" if middle else ":"
    if top:
        return "'" if not middle else '"' if bin(dots).count("1") > 3 else "'"
    if bottom:
        return "," if middle and bin(dots).count("1") > 2 else "."
    return "-" if bin(middle).count("1") > 1 else "."


@lru_cache(maxsize=8192)
def cells_of(text: str, ascii_only: bool = False) -> tuple[str, tuple[str, ...]]:
    """Split text without control characters into cells.

    Widths are Rich's, as Textual's layout uses them.

    Returns:
        Marks that belong to the cell before the text, and the cells: a wide
        character is followed by an empty one.
    """
    if _is_single_cell_widths(text):
        return "", tuple(ascii_cell(char, 1) for char in text) if ascii_only else tuple(text)
    text = text.translate(_BIDI)
    marks = ""
    cells: list[str] = []
    for start, end, width in split_graphemes(text)[0]:
        cluster = text[start : min(end, start + 1 + _MOST_MARKS)]
        if width == 0:
            # A leading mark: a lone one is a combining mark, a joiner, or invisible.
            if not cells:
                marks += cluster
        elif ascii_only:
            cells.extend(ascii_cell(cluster, width))
        elif width == 2:
            cells += (cluster, "")
        else:
            cells.append(cluster)
    return "" if ascii_only else marks, tuple(cells)


@lru_cache(maxsize=8192)
def width_is_certain(cell: str) -> bool:
    """False where terminals disagree about a cell's width, so that the cursor must be placed anew.

    Emoji, joined and modified characters and scripts with spacing marks are drawn in one, two or
    more cells, whatever the Unicode tables say.
    """
    point = ord(cell[0])
    if any(not 0x300 <= ord(mark) <= 0x36F for mark in cell[1:]):
        return False
    return (
        point < 0x590
        or 0x1E00 <= point <= 0x22FF
        or 0x2500 <= point <= 0x25FC
        or 0x2800 <= point <= 0x28FF
        or 0x2E80 <= point <= 0x9FFF
        or 0xAC00 <= point <= 0xD7A3
        or 0xFF01 <= point <= 0xFFE6
        or cell[0] in "✓✗✘⏎"
    )
