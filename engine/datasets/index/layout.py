"""How rows lie in a file of text: one a line, or as CSV records. The JSON list is in json_list."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from engine.datasets.index.blocks import BLOCK_BYTES, Blocks
from engine.problem import BadInput, Problem

CHUNK = 1 << 20
# A row beyond this is not read: twice what the most characters of a row take, escaped.
MOST_ROW_BYTES = 1 << 28

# `pread(count, place)`: the bytes there, fewer only at the file's end.
Pread = Callable[[int, int], bytes]
# `step(place)` is told how far the scan is; it raises to end it.
Step = Callable[[int], None]
# First byte, byte behind the last, and line of a row in a piece of a file.
Span = tuple[int, int, int]


class Layout(Protocol):
    """One way in which rows lie in a file."""

    name: str

    def begin(self, pread: Pread) -> tuple[int, int]:
        """The byte and line where rows begin. Raises BadInput."""
        ...

    def scan(self, pread: Pread, blocks: Blocks, step: Step) -> None:
        """Note the blocks from the last one noted to the file's end. Raises BadInput."""
        ...

    def spans(self, raw: bytes, line: int, final: bool) -> list[Span]:
        """The rows in `raw`, which begins with a row on `line`. Where `raw` is all of a block
        (`final`), what follows the block's last row may be given as one more."""
        ...

    def parse(self, raw: bytes, line: int) -> Any:
        """What a row holds. Raises BadInput, naming the line."""
        ...


_BLANKS = b" \t\r\x0b\x0c"
# A blank line between two line ends; the second one may end another.
_BLANK_LINE = re.compile(rb"\n[ \t\r\x0b\x0c]*+(?=\n)")
_BLANK_FIRST = re.compile(rb"[ \t\r\x0b\x0c]*+\n")
_LINE = re.compile(rb"[^\n]*+(?:\n|\Z)")


class LineLayout:
    """One row a line; blank lines are no rows. `parse_line` makes the row of its bytes."""

    def __init__(self, name: str, parse_line: Callable[[bytes, int], Any]) -> None:
        self.name = name
        self._parse = parse_line

    def begin(self, pread: Pread) -> tuple[int, int]:
        return (3 if pread(3, 0) == codecs.BOM_UTF8 else 0), 1

    def scan(self, pread: Pread, blocks: Blocks, step: Step) -> None:
        row, start, line = blocks.rows[-1], blocks.starts[-1], blocks.lines[-1]
        base, blank = start, True  # `blank`: of the line in progress nothing but blanks was seen
        while chunk := pread(CHUNK, base):
            place, size = 0, len(chunk)
            while place < size:
                # Up to the line end that closes the block, or as far as the chunk goes.
                stop = chunk.find(b"\n", max(place, start + BLOCK_BYTES - base)) + 1
                closes = stop > 0
                stop = stop or size
                ends = chunk.count(b"\n", place, stop)
                blanks = len(_BLANK_LINE.findall(chunk, place, stop))
                if blank and _BLANK_FIRST.match(chunk, place, stop):
                    blanks += 1
                row += ends - blanks
                line += ends
                last = chunk.rfind(b"\n", place, stop) + 1 if ends else 0
                if last < stop and (ends or blank):
                    blank = not chunk[last or place : stop].strip(_BLANKS)
                elif ends:
                    blank = True
                if closes:
                    start = base + stop
                    blocks.add(row, start, line)
                place = stop
            base += size
            step(base)
        blocks.close(row + (not blank), base)

    def spans(self, raw: bytes, line: int, final: bool) -> list[Span]:
        found: list[Span] = []
        place, size = 0, len(raw)
        while place < size:
            end = raw.find(b"\n", place)
            if end < 0:
                if not final:
                    break
                end = size
            if raw[place : place + 1] not in b" \t\r\n\x0b\x0c" or raw[place:end].strip(_BLANKS):
                found.append((place, end, line))
            place = end + 1
            line += 1
        return found

    def parse(self, raw: bytes, line: int) -> Any:
        return self._parse(raw, line)


# A field is quoted, with whatever stands behind its quote, or runs to the next comma or line end.
_FIELD = rb'(?:"(?:[^"]++|"")*+"[^,\r\n]*+|(?!")[^,\r\n]*+)'
_RECORD = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+(?:\r\n|\n|\r|\Z)")
_QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LINE_END_LAST = re.compile(rb"(?:\r\n|\n|\r|)\Z")


def _record_end(raw: bytes, place: int, lone: bool) -> int:
    """The byte behind the record at `place` and its line end, or behind `raw`; -1 where a quote is
    open there. `lone`: carriage returns stand in `raw` without a line feed."""
    if lone:
        match = _RECORD.match(raw, place)
        return match.end() if match else -1
    # By single searches, which take a fifth of the expression's time.
    size, seen, line_feed = len(raw), place, -1
    while True:
        if line_feed < seen:
            line_feed = raw.find(b"\n", seen)
            if line_feed < 0:
                line_feed = size
        quote = raw.find(b'"', seen, line_feed)
        if quote < 0:
            return min(size, line_feed + 1)
        if quote > place and raw[quote - 1] != 0x2C:
            seen = quote + 1  # in the middle of a field it is text
            continue
        quoted = _QUOTED.match(raw, quote)
        if quoted is None:
            return -1
        seen = quoted.end()


def _line_ends(raw: bytes, place: int, end: int, lone: bool) -> int:
    return len(_LINE_END.findall(raw, place, end)) if lone else raw.count(b"\n", place, end)


def _has_lone(raw: bytes) -> bool:
    return raw.count(b"\r") != raw.count(b"\r\n")


class CsvLayout:
    """CSV records with a header; a quoted field may hold line ends. Empty lines are no rows."""

    name = "csv"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.header: list[str] = []

    def begin(self, pread: Pread) -> tuple[int, int]:
        start = 3 if pread(3, 0) == codecs.BOM_UTF8 else 0
        nothing = (-1, start, 1)
        _place, end, line = next(self._records(pread, start, 1, _no_step), nothing)
        raw = pread(end - start, start)
        if raw.strip(b"\r\n"):
            self.header = self._fields(raw, 1)
        if not self.header:
            raise _bad(
                f"{self._path.name} has no header line.",
                self._path,
                "Name the columns in its first line.",
            )
        return end, line

    def scan(self, pread: Pread, blocks: Blocks, step: Step) -> None:
        row, start = blocks.rows[-1], blocks.starts[-1]
        end = start
        for place, end, line in self._records(pread, start, blocks.lines[-1], step):
            row += place >= 0
            if end - start >= BLOCK_BYTES:
                start = end
                blocks.add(row, start, line)
        blocks.close(row, end)

    def _records(
        self, pread: Pread, base: int, line: int, step: Step
    ) -> Iterator[tuple[int, int, int]]:
        """First byte (-1: an empty line), end, and the line behind each record."""
        raw, final, wanted = b"", False, CHUNK
        while True:
            if not final:
                raw = pread(wanted, base)
                final = len(raw) < wanted
            place, size = 0, len(raw)
            lone = _has_lone(raw)
            while place < size:
                end = _record_end(raw, place, lone)
                # At the end of what was read a record, or its line end, may go on.
                if not final and (end < 0 or (end == size and raw[end - 1 :] != b"\n")):
                    break
                if end < 0:
                    raise _bad(
                        f"{self._path.name} is not valid CSV: a quote that opens here is never "
                        "closed.",
                        f"{self._path}, line {line}",
                        "Correct the quotes there.",
                    )
                line += _line_ends(raw, place, end, lone)
                empty = raw[place : place + 1] in (b"\n", b"\r")
                yield (-1 if empty else base + place), base + end, line
                place = end
            base += place
            step(base)
            if final:
                return
            wanted = CHUNK if place else wanted * 2
            if wanted > MOST_ROW_BYTES:
                raise too_long(self._path, line)

    def spans(self, raw: bytes, line: int, final: bool) -> list[Span]:
        found: list[Span] = []
        place, size, lone = 0, len(raw), _has_lone(raw)
        while place < size:
            end = _record_end(raw, place, lone)
            if not final and (end < 0 or end == size):
                break
            end = size if end < 0 else end
            if raw[place : place + 1] not in (b"\n", b"\r"):
                found.append((place, end, line))
            line += _line_ends(raw, place, end, lone)
            place = end
        return found

    def parse(self, raw: bytes, line: int) -> dict[str, str]:
        fields = self._fields(raw, line)
        if len(fields) != len(self.header):
            raise _bad(
                f"The row has {len(fields)} fields, the header has {len(self.header)}.",
                f"{self._path}, line {line}",
                "Put quotes around fields that hold commas.",
            )
        return dict(zip(self.header, fields, strict=True))

    def _fields(self, raw: bytes, line: int) -> list[str]:
        """The fields of one record, as the module csv reads them; it takes ten times the memory of
        a long row, and knows no bytes."""
        from engine.datasets.files import decode

        end = len(raw) - len(_LINE_END_LAST.search(raw, max(0, len(raw) - 2)).group())  # type: ignore[union-attr]
        fields, place = [], 0
        while True:
            quoted = _QUOTED.match(raw, place) if raw[place : place + 1] == b'"' else None
            if quoted is not None:
                stop = quoted.end()
                fields.append(raw[place + 1 : stop - 1].replace(b'""', b'"'))
                if stop < end and raw[stop] != 0x2C:
                    raise self._stray(raw, stop, line)
            elif raw[place : place + 1] == b'"':
                raise self._stray(raw, place, line)
            else:
                stop = raw.find(b",", place, end)
                stop = end if stop < 0 else stop
                fields.append(raw[place:stop])
            if stop >= end:
                return [decode(field, self._path, line) for field in fields]
            place = stop + 1

    def _stray(self, raw: bytes, place: int, line: int) -> BadInput:
        return _bad(
            f"{self._path.name} is not valid CSV: a comma must follow a field's closing quote.",
            f"{self._path}, line {line + _line_ends(raw, 0, place, _has_lone(raw))}",
            "Correct the quotes there: a quote within a quoted field is written twice.",
        )


def _no_step(place: int) -> None:
    """Nobody is told."""


def too_long(path: Path, line: int) -> BadInput:
    """The error for a row that is not read, as it would take the memory."""
    return _bad(
        f"{path.name} has a row of more than {MOST_ROW_BYTES >> 20} MB.",
        f"{path}, line {line}",
        "A quote or a bracket may be open there, or a line end missing.",
    )


def _bad(what: str, where: Path | str, hint: str) -> BadInput:
    return BadInput(Problem(what, str(where), hint, "dataset"))
