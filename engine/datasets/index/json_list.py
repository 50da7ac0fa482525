"""One JSON list of rows, element by element: bounds are found over bytes, no object is built.

The bytes that matter (quotes, brackets, commas) are picked out a chunk at a time with numpy;
those in strings fall out by counting quotes, and the commas at depth 1 part the elements.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

from engine.datasets.index.blocks import BLOCK_BYTES, Blocks
from engine.datasets.index.layout import CHUNK, MOST_ROW_BYTES, Pread, Span, Step
from engine.problem import BadInput, Problem

_BLANKS = b" \t\r\n"
_QUOTE, _BACKSLASH, _COMMA = 0x22, 0x5C, 0x2C
# Runs of backslashes up to this long are gone through together.
_LONG_RUN = 32
_TRAILING = re.compile(rb"\\*\Z")


class JsonListLayout:
    """The elements of one list, from `[` to its `]`."""

    name = "json list"

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, pread: Pread) -> tuple[int, int]:
        place = 3 if pread(3, 0) == codecs.BOM_UTF8 else 0
        line = 1
        while chunk := pread(CHUNK, place):
            rest = chunk.lstrip(_BLANKS)
            line += chunk.count(b"\n", 0, len(chunk) - len(rest))
            place += len(chunk) - len(rest)
            if rest:
                break
        if pread(1, place) != b"[":
            raise self._bad("does not begin with a list", line, "Begin it with [.")
        return place + 1, line

    def scan(self, pread: Pread, blocks: Blocks, step: Step) -> None:
        row, start, line = blocks.rows[-1], blocks.starts[-1], blocks.lines[-1]
        base, element, state = start, start, _State()
        empty = True  # nothing but blanks since the last comma
        while chunk := pread(CHUNK, base):
            commas, end = cut(chunk, state)
            place = 0
            for comma in commas:
                row += 1
                line += chunk.count(b"\n", place, comma)
                place, element, empty = comma + 1, base + comma + 1, True
                if element - start >= BLOCK_BYTES:
                    start = element
                    blocks.add(row, start, line)
            stop = len(chunk) if end is None else end
            empty = empty and not chunk[place:stop].strip(_BLANKS)
            if end is not None:
                line += chunk.count(b"\n", place, end)
                self._only_blanks(pread, base + end + 1, line)
                # `[]` holds no row; an element missing behind a comma is a faulty one.
                blocks.close(row + (row > 0 or not empty), base + end)
                step(base + end)
                return
            line += chunk.count(b"\n", place)
            base += len(chunk)
            step(base)
            if base - element > MOST_ROW_BYTES:
                raise self._bad(
                    f"has a row of more than {MOST_ROW_BYTES >> 20} MB",
                    blocks.lines[-1],
                    "A quote or a bracket may be open from here on.",
                )
        raise self._bad(
            "is not valid JSON: its list is never closed",
            line,
            "The file may be cut short, or a quote or bracket be open: fetch or write it again.",
        )

    def spans(self, raw: bytes, line: int, final: bool) -> list[Span]:
        found: list[Span] = []
        place = 0
        commas, _end = cut(raw, _State())
        for end in [*commas, len(raw)] if final else commas:
            element = raw[place:end]
            blanks = len(element) - len(element.lstrip(_BLANKS))
            line += element.count(b"\n", 0, blanks)
            found.append((place + blanks, end, line))
            line += element.count(b"\n", blanks)
            place = end + 1
        return found

    def parse(self, raw: bytes, line: int) -> Any:
        from engine.datasets.files import decode, parse_json

        return parse_json(decode(raw, self._path, line).strip(" \t\r\n"), self._path, line)

    def _only_blanks(self, pread: Pread, place: int, line: int) -> None:
        while chunk := pread(CHUNK, place):
            if chunk.strip(_BLANKS):
                raise self._bad(
                    "is not valid JSON: text follows the list's end",
                    line + chunk[: -len(chunk.lstrip(_BLANKS))].count(b"\n"),
                    "A dataset is one list: [ {…}, {…} ].",
                )
            line += chunk.count(b"\n")
            place += len(chunk)

    def _bad(self, what: str, line: int, hint: str) -> BadInput:
        where = f"{self._path}, line {line}"
        return BadInput(Problem(f"{self._path.name} {what}.", where, hint, "dataset"))


class _State:
    """Where a scan stands between two chunks: depth, in a string or not, behind an odd number of
    backslashes or not."""

    def __init__(self) -> None:
        self.depth = 1
        self.quoted = 0
        self.escaped = False


def cut(chunk: bytes, state: _State) -> tuple[list[int], int | None]:
    """The places of the commas between elements, and of the bracket that ends the list, if there.

    `state` is taken from the chunk before, and left for the next.
    """
    import numpy as np

    codes = np.frombuffer(chunk, dtype=np.uint8)
    matters = codes == _QUOTE
    for sign in b"[]{},":
        # Several times as fast as a table of 256.
        matters |= codes == sign
    places = np.flatnonzero(matters)
    signs = codes[places]
    quotes = signs == _QUOTE
    if state.escaped or b"\\" in chunk:
        kept = ~_escaped(chunk, codes, places, quotes, state.escaped)
        places, signs, quotes = places[kept], signs[kept], quotes[kept]
        run = len(_TRAILING.search(chunk, max(0, len(chunk) - _LONG_RUN)).group())  # type: ignore[union-attr]
        if run == min(len(chunk), _LONG_RUN):
            run = len(chunk) - len(chunk.rstrip(b"\\"))
        whole = run == len(chunk)
        state.escaped = bool((run + (whole and state.escaped)) % 2)
    inside = (np.cumsum(quotes) + state.quoted) & 1
    if len(inside):
        state.quoted = int(inside[-1])
    outside = (inside == 0) & ~quotes
    places, signs = places[outside], signs[outside]
    opens = (signs == 0x5B) | (signs == 0x7B)
    closes = (signs == 0x5D) | (signs == 0x7D)
    depth: Any = np.cumsum(opens.astype(np.int64) - closes) + state.depth
    if len(depth):
        state.depth = int(depth[-1])
    closing = np.flatnonzero(depth == 0)
    end = None
    if len(closing):
        end = int(places[closing[0]])
        places, signs = places[: closing[0]], signs[: closing[0]]
        depth = depth[: closing[0]]
    return places[(signs == _COMMA) & (depth == 1)].tolist(), end


def _escaped(chunk: bytes, codes: Any, places: Any, quotes: Any, carried: bool) -> Any:
    """Which of the signs are quotes behind an odd number of backslashes."""
    import numpy as np

    found = np.zeros(len(places), dtype=bool)
    which = np.flatnonzero(quotes)
    at = places[which] - 1
    odd = np.zeros(len(which), dtype=bool)
    alive = np.arange(len(which))
    for _length in range(_LONG_RUN):
        here = at[alive]
        if carried:
            odd[alive[here < 0]] ^= True
        alive = alive[here >= 0]
        alive = alive[codes[at[alive]] == _BACKSLASH]
        if not len(alive):
            break
        odd[alive] ^= True
        at[alive] -= 1
    for number in alive.tolist():
        head = chunk[: int(places[which[number]])]
        run = len(head) - len(head.rstrip(b"\\"))
        odd[number] = bool((run + (carried and run == len(head))) % 2)
    found[which] = odd
    return found
