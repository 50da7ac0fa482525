"""The ends and beginnings of log files, read without reading the middle."""

from __future__ import annotations

import os
from pathlib import Path


def tail_lines(path: Path, size: int = 16384) -> list[bytes]:
    """The whole lines in the last `size` bytes of a file, in order; [] when there is no file.

    A last line without its newline is included: it may be whole or cut in half, the reader of
    its content decides.
    """
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            start = max(0, length - size)
            file.seek(start)
            data = file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return []
    lines = data.splitlines()
    # A start in the middle of the file most likely fell inside a line.
    return lines[1:] if start > 0 else lines


def head_lines(path: Path, size: int = 8192) -> list[bytes]:
    """The whole lines in the first `size` bytes of a file; [] when there is no file."""
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return []
    lines = data[:size].splitlines()
    return lines[:-1] if len(data) > size else lines
