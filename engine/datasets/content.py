"""What a file holds, as a digest: read once, and again only when the file may have changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from engine.paths import cache_dir
from engine.runs.atomic import write_atomic
from engine.runs.json_object import read_object

_BLOCK = 4 << 20
# A file written to this shortly ago may be written to again within one tick of its clock.
_SETTLED_NS = 2_000_000_000
_MOST_KNOWN = 5_000


class Contents:
    """Digests of files, remembered in the user's cache by path, inode, size and both times.

    `save` writes back what is new. The time of change (`st_ctime_ns`) can't be set by programs, so
    that a file whose time was put back is read again.
    """

    def __init__(self) -> None:
        self._path = cache_dir() / "contents.json"
        self._new = False
        self._known: dict[str, list[int | str]] = read_object(self._path)

    def digest(self, path: Path, check_stop: Callable[[], None] | None = None) -> str:
        """The BLAKE2 digest of a file, or of all files of a folder with their names.

        Raises OSError for what can't be read.
        """
        if path.is_dir():
            parts = [
                f"{item.relative_to(path)} {self.digest(item, check_stop)}"
                for item in sorted(path.rglob("*"))
                if item.is_file()
            ]
            return hashlib.blake2b("\n".join(parts).encode(), digest_size=20).hexdigest()
        state = path.stat()
        stamp = [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        name = str(path.resolve())
        known = self._known.get(name)
        if isinstance(known, list) and known[:4] == stamp and isinstance(known[-1], str):
            return known[-1]
        found = hashlib.blake2b(digest_size=20)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if check_stop:
                    check_stop()
                found.update(block)
        after = path.stat()
        unmoved = [after.st_ino, after.st_size, after.st_mtime_ns, after.st_ctime_ns] == stamp
        if unmoved and time.time_ns() - state.st_ctime_ns > _SETTLED_NS:
            self._known[name] = [*stamp, found.hexdigest()]
            self._new = True
        return found.hexdigest()

    def save(self) -> None:
        """Write the digests back if any is new. Raises OSError."""
        if not self._new:
            return
        kept = dict(list(self._known.items())[-_MOST_KNOWN:])
        write_atomic(self._path, json.dumps(kept))
        self._new = False
