"""How many rows a file has, remembered by path, time and size, so that a list opens at once."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from engine.datasets.files import open_path
from engine.paths import cache_dir
from engine.runs.atomic import write_atomic

# Larger files are counted when they are opened, not when they are listed.
_COUNT_UP_TO = 16 * 2**20
_SIZE = 2


class RowCounts:
    """The counts in the user's cache. `save` writes them back if any is new."""

    def __init__(self) -> None:
        self._path = cache_dir() / "rows.json"
        self._known: dict[str, list[int]] = {}
        self._new = False
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        if isinstance(known, dict):
            self._known = {key: value for key, value in known.items() if isinstance(value, list)}

    def count(self, path: Path) -> int | None:
        """Rows of a file or folder; None where counting would take long.

        Raises BadInput for a file that can't be read.
        """
        now = stamp(path)
        known = self._known.get(os.path.realpath(path))
        # Counts that an older finetui wrote have fewer numbers in front.
        if now and known and known[:-1] == now:
            return known[-1]
        if now and now[_SIZE] > _COUNT_UP_TO:
            return None
        rows = len(open_path(path))
        self.learn(path, rows)
        return rows

    def learn(self, path: Path, rows: int) -> None:
        """Remember a count that opening the file has shown."""
        now = stamp(path)
        if now:
            value = [*now, rows]
            if self._known.get(os.path.realpath(path)) != value:
                self._known[os.path.realpath(path)] = value
                self._new = True

    def save(self) -> None:
        if self._new:
            # A cache that can't be written only costs the next start some milliseconds.
            with contextlib.suppress(OSError):
                write_atomic(self._path, json.dumps(self._known))
            self._new = False


def stamp(path: Path) -> list[int] | None:
    """Times, size and place of the file; for a folder of all its files. None where unreadable."""
    try:
        files = [item for item in path.iterdir() if item.is_file()] if path.is_dir() else [path]
        stats = [item.stat() for item in files]
    except OSError:
        return None
    if not stats:
        return None
    return [
        max(s.st_mtime_ns for s in stats),
        max(s.st_ctime_ns for s in stats),
        sum(s.st_size for s in stats),
        sum(s.st_ino for s in stats),
        len(stats),
    ]
