"""Everything the widgets draw, in ASCII, for terminals and locales without UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Mapping

from rich.cells import cell_len

_GLYPHS = {
    **dict.fromkeys("╭╮╰╯┌┐└┘┏┓┗┛├┤┬┴┼", "+"),
    **dict.fromkeys("─━", "-"),
    **dict.fromkeys("│┃▏▕▌▐▍", "|"),
    **dict(zip("▁▂▃▄▅▆▇█", "_.-~=+*#", strict=True)),
    **dict.fromkeys("▎▋▊▉", "#"),
    "·": ".",
    "◆": "x",
    "●": "*",
    "○": "o",
    "◌": "~",
    "✓": "v",
    "★": "*",
    "✗": "x",
    "■": "#",
    "…": "~",
    "–": "-",
    "—": "-",
    "×": "x",
    "÷": "/",
    "±": "~",
    "≈": "~",
    "→": ">",
    "←": "<",
    "↑": "^",
    "↓": "v",
    "‹": "<",
    "›": ">",
    "▸": ">",
    "▾": "v",
    "⏎": "$",
    "°": "o",
    "⟨": "<",
    "⟩": ">",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
# In a heavy frame the sides and edges must differ from those of a thin one without any colour.
_HEAVY = {"━": "=", "┃": "#"}
_TABLE = {**_GLYPHS, **_HEAVY}

_ascii_only = False


def ascii_only() -> bool:
    """Whether the widgets draw with ASCII alone."""
    return _ascii_only


def set_ascii_only(on: bool) -> None:
    """Makes all widgets draw with ASCII alone, or not. Set before the first drawing, or refresh."""
    global _ascii_only
    _ascii_only = on


def lacks_utf8(environ: Mapping[str, str], encoding: str | None) -> bool:
    """Whether text beyond ASCII cannot be sent: the output's `encoding` (as of `sys.stdout`) is not
    UTF-8, or the terminal is one that has no glyphs for it (`TERM`)."""
    if environ.get("TERM", "") in {"dumb", "vt100", "vt102", "vt220", "ansi"}:
        return True
    try:
        return codecs.lookup(encoding or "ascii").name not in {"utf-8", "utf-16", "utf-32"}
    except LookupError:
        return True


def _braille(char: str) -> str:
    dots = ord(char) - 0x2800
    if dots == 0:
        return " "
    # Bits 0, 1, 3, 4 are the two upper rows of dots, 2, 5, 6, 7 the two lower ones.
    upper, lower = dots & 0b00011011, dots & 0b11100100
    if upper and lower:
        return ":"
    return "'" if upper else "."


def to_ascii(text: str) -> str:
    """`text` with one ASCII character for each cell: frames, bars, braille and marks by what they
    look like, any other character as `?`."""
    if text.isascii():
        return text
    result: list[str] = []
    for char in text:
        if char.isascii():
            result.append(char)
        elif char in _TABLE:
            result.append(_TABLE[char])
        elif "\u2800" <= char <= "\u28ff":
            result.append(_braille(char))
        else:
            result.append("?" * cell_len(char))
    return "".join(result)
