"""Foreign text made safe for the terminal, and wrapped by the cells that it takes there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

TAB = "    "

# C0, DEL, C1, soft hyphen, zero-width and bidi marks, line and paragraph separators, the invisible
# operators, BOM, interlinear marks, variation selectors, tags, and lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)

# Marks that may not begin a line, and those that may not end one (the usual rule for Chinese and
# Japanese type; W3C, "Requirements for Chinese Text Layout", section 3.1.3).
_NOT_FIRST = frozenset("，。、；：？！）》」』】〕〉”’…—·,.;:?!)]}%")
_NOT_LAST = frozenset("（《「『【〔〈“‘([{")


def _shown(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if char == "\t":
        return TAB
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    # Emoji presentation only asks for a colour glyph: it says nothing that a reader could miss, and
    # terminals disagree on its width.
    if char in "\ufe0e\ufe0f":
        return ""
    return f"⟨U+{code:04X}⟩"


def visible(text: str, *, keep_newlines: bool = False) -> str:
    """`text` with everything that a terminal would obey, or hide, as something a person can see.

    Control characters become their control pictures (`␛`, `␀`), bidi and zero-width marks and lone
    surrogates `⟨U+202E⟩`, tabs four spaces. With `keep_newlines` line ends stay, each as `\\n`.
    Never reads markup. Plain ASCII is returned as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    if keep_newlines:
        lines = text.replace("\r\n", "\n").split("\n")
        return "\n".join(_UNSAFE.sub(_shown, line) for line in lines)
    return _UNSAFE.sub(_shown, text)


def cells_of(text: str) -> list[str]:
    """One entry a terminal cell: a wide character is followed by an empty string, and marks without
    a width stand with the character before them."""
    if text.isascii():
        return list(text)
    cells: list[str] = []
    for char in text:
        width = cell_len(char)
        if width == 0:
            if cells:
                last = len(cells) - 1
                while last > 0 and cells[last] == "":
                    last -= 1
                cells[last] += char
            continue
        cells.append(char)
        cells.extend([""] * (width - 1))
    return cells


def take_cells(text: str, width: int) -> str:
    """The longest beginning of `text` that takes no more than `width` cells."""
    if width <= 0:
        return ""
    if text.isascii():
        return text[:width]
    used = 0
    for index, char in enumerate(text):
        used += cell_len(char)
        if used > width:
            return text[:index]
    return text


def take_last_cells(text: str, width: int) -> str:
    """The longest end of `text` that takes no more than `width` cells."""
    if width <= 0:
        return ""
    if text.isascii():
        return text[-width:]
    used = 0
    for index in range(len(text) - 1, -1, -1):
        used += cell_len(text[index])
        if used > width:
            rest = text[index + 1 :]
            # A mark without a width belongs to the character that was cut away.
            while rest and cell_len(rest[0]) == 0:
                rest = rest[1:]
            return rest
    return text


def _pieces(line: str) -> list[str]:
    """A line as words, runs of spaces, and single wide characters (where it may break)."""
    pieces: list[str] = []
    word = ""
    for char in line:
        wide = cell_len(char) == 2
        if char == " ":
            if word and not word.isspace():
                pieces.append(word)
                word = ""
            word += char
        elif wide:
            if word:
                pieces.append(word)
                word = ""
            pieces.append(char)
        elif cell_len(char) == 0 and not word and pieces:
            pieces[-1] += char
        else:
            if word and word.isspace():
                pieces.append(word)
                word = ""
            word += char
    if word:
        pieces.append(word)
    return _bound(pieces)


def _bound(pieces: list[str]) -> list[str]:
    """Joins closing marks to what stands before them, and opening ones to what follows."""
    bound: list[str] = []
    for piece in pieces:
        joins = bound and not bound[-1].isspace() and not piece.isspace()
        wide_edge = joins and (cell_len(bound[-1][-1]) == 2 or cell_len(piece[0]) == 2)
        if wide_edge and (piece[0] in _NOT_FIRST or bound[-1][-1] in _NOT_LAST):
            bound[-1] += piece
        else:
            bound.append(piece)
    return bound


def pad_cells(text: str, width: int) -> str:
    """`text` filled with blanks to `width` cells; longer ones are left as they are."""
    return text + " " * (width - cell_len(text))


def wrap_cells(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells: at spaces, between Chinese or Japanese characters,
    and inside a word only where it is longer than a line. Line ends of the text stay; what it is
    indented by is kept. Always at least one line.
    """
    width = max(1, width)
    lines: list[str] = []
    for source in text.split("\n"):
        lines.extend(_wrap_line(source, width))
    return lines


def wrap_spans(line: Sequence[tuple[str, str]], width: int) -> list[list[tuple[str, str]]]:
    """A line of (text, role) in lines of at most `width` cells, each text keeping its role."""
    text = "".join(part for part, _role in line)
    roles = [role for part, role in line for _char in part]
    lines: list[list[tuple[str, str]]] = []
    place = 0
    for part in wrap_cells(text, width):
        # Only blanks are dropped where a line breaks.
        place = max(place, text.find(part, place))
        spans: list[tuple[str, str]] = []
        for char, role in zip(part, roles[place:], strict=False):
            if spans and spans[-1][1] == role:
                spans[-1] = (spans[-1][0] + char, role)
            else:
                spans.append((char, role))
        lines.append(spans)
        place += len(part)
    return lines


def _wrap_line(source: str, width: int) -> list[str]:
    if cell_len(source) <= width:
        return [source]
    lines: list[str] = []
    line, used = "", 0
    for piece in _pieces(source):
        size = cell_len(piece)
        if used + size <= width:
            line += piece
            used += size
            continue
        if piece.isspace():
            # A gap at the end of a line is where it breaks: it is not carried over.
            lines.append(line.rstrip(" "))
            line, used = "", 0
            continue
        if line.strip(" "):
            lines.append(line.rstrip(" "))
            line, used = "", 0
        elif used + size > width and used:
            line, used = "", 0
        while cell_len(piece) > width:
            head = take_cells(piece, width)
            if not head:
                # One wide character in a column one cell wide.
                head, piece = "…", piece[1:]
            else:
                piece = piece[len(head) :]
            lines.append(head)
        line, used = piece, cell_len(piece)
    if line or not lines:
        lines.append(line.rstrip(" "))
    return lines
