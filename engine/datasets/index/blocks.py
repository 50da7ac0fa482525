"""The blocks of a file: where each begins, by row, byte and line. Written to the cache and back."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import os
import sys
import zlib
from array import array
from pathlib import Path
from typing import Any

from engine.paths import cache_dir
from engine.runs.atomic import write_atomic

# The next block begins with the first row that lies at least so many bytes behind its beginning.
BLOCK_BYTES = 65536
# Raised when what is noted, or how, changes: older files are then made anew.
_MAGIC = b"finetui rows 1\n"


class Blocks:
    """Where each block begins: `rows[k]` is the number of its first row (from 0), `starts[k]` its
    first byte, `lines[k]` its line (from 1).

    The last block is complete once `end` is set; before that, only the ones before it are. One
    thread appends while others read.
    """

    def __init__(self) -> None:
        self.rows = array("Q")
        self.starts = array("Q")
        self.lines = array("Q")
        self.end: int | None = None
        self.total = 0

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, row: int, start: int, line: int) -> None:
        """Begin a block; the one before it is complete with that."""
        self.lines.append(line)
        self.starts.append(start)
        self.rows.append(row)  # last: readers go by it

    def close(self, rows: int, end: int) -> None:
        """All of the file is noted: it holds `rows` rows, the last ends before byte `end`."""
        self.total = rows
        self.end = end

    @property
    def known(self) -> int:
        """Rows that can be read."""
        if self.end is not None:
            return self.total
        return self.rows[-1] if self.rows else 0

    def find(self, row: int) -> int:
        """The block that holds a known row."""
        return bisect.bisect_right(self.rows, row) - 1

    def span(self, block: int) -> tuple[int, int]:
        """First byte of a complete block, and the byte behind its last."""
        if block + 1 < len(self.starts):
            return self.starts[block], self.starts[block + 1]
        assert self.end is not None
        return self.starts[block], self.end


def index_path(path: Path, suffix: str = ".idx") -> Path:
    """Where what is remembered of a file lies."""
    name = hashlib.blake2b(os.fsencode(path.resolve()), digest_size=16).hexdigest()
    return cache_dir() / "rows" / f"{name}{suffix}"


def save_blocks(path: Path, identity: dict[str, Any], blocks: Blocks) -> None:
    """Remember blocks. A cache that can't be written only costs the next start its time."""
    count = len(blocks.rows)
    body = b"".join(part[:count].tobytes() for part in (blocks.rows, blocks.starts, blocks.lines))
    header = {
        "identity": identity,
        "blocks": count,
        "total": blocks.total,
        "end": blocks.end,
        "order": sys.byteorder,
        "crc": zlib.crc32(body),
    }
    text = json.dumps(header).encode()
    with contextlib.suppress(OSError):
        write_atomic(path, _MAGIC + len(text).to_bytes(8, "little") + text + body)


def load_blocks(path: Path, identity: dict[str, Any]) -> Blocks | None:
    """Blocks remembered for just this identity; None where there are none, or they are damaged."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    try:
        return _read(raw, identity)
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _read(raw: bytes, identity: dict[str, Any]) -> Blocks | None:
    head = len(_MAGIC)
    if raw[:head] != _MAGIC:
        return None
    size = int.from_bytes(raw[head : head + 8], "little")
    header = json.loads(raw[head + 8 : head + 8 + size])
    body = raw[head + 8 + size :]
    count = header["blocks"]
    if header["identity"] != identity or header["order"] != sys.byteorder:
        return None
    if len(body) != count * 24 or zlib.crc32(body) != header["crc"]:
        return None
    blocks = Blocks()
    for place, part in enumerate((blocks.rows, blocks.starts, blocks.lines)):
        part.frombytes(body[place * count * 8 : (place + 1) * count * 8])
    blocks.total, blocks.end = header["total"], header["end"]
    return blocks
