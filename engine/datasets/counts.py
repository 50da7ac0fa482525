"""How many rows a file has, remembered by path, time and size, so that a list opens at once."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.datasets.local import local_files, open_local
from engine.paths import cache_dir
from engine.runs.atomic import write_atomic
from engine.runs.json_object import read_object

if TYPE_CHECKING:
    from engine.datasets.dataset_info import DatasetInfo

# Larger files are counted when they are opened, not when they are listed.
_COUNT_UP_TO = 16 * 2**20
_SIZE = 2


class RowCounts:
    """The counts in the user's cache. `save` writes them back if any is new."""

    def __init__(self) -> None:
        self._path = cache_dir() / "rows.json"
        self._new = False
        self._known: dict[str, list[int]] = {
            key: value for key, value in read_object(self._path).items() if isinstance(value, list)
        }

    def count(self, info: DatasetInfo) -> int | None:
        """Rows of a set on disk; None where counting would take long.

        Raises BadInput for a file that can't be read, and for a part that is not there.
        """
        now = stamp(local_files(info))
        known = self._known.get(_key(info))
        # Counts that an older finetui wrote have fewer numbers in front.
        if now and known and known[:-1] == now:
            return known[-1]
        if now and now[_SIZE] > _COUNT_UP_TO:
            return None
        rows = len(open_local(info))
        self._learn(info, now, rows)
        return rows

    def learn(self, info: DatasetInfo, rows: int) -> None:
        """Remember a count that opening the set has shown."""
        self._learn(info, stamp(local_files(info)), rows)

    def _learn(self, info: DatasetInfo, now: list[int] | None, rows: int) -> None:
        if now and self._known.get(_key(info)) != [*now, rows]:
            self._known[_key(info)] = [*now, rows]
            self._new = True

    def save(self) -> None:
        if self._new:
            # A cache that can't be written only costs the next start some milliseconds.
            with contextlib.suppress(OSError):
                write_atomic(self._path, json.dumps(self._known))
            self._new = False


def _key(info: DatasetInfo) -> str:
    """The place of the set, and which part of it is read."""
    assert info.path is not None
    part = "" if info.split == "train" else info.split
    said = [info.hub_folder or "", info.subset or "", part]
    return os.path.realpath(info.path) + ("\n" + "\n".join(said) if any(said) else "")


def stamp(files: Sequence[Path]) -> list[int] | None:
    """Times, size and place of files. None where unreadable."""
    try:
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
