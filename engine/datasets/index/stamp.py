"""What a file is known by, so that nothing remembered of it is ever used for another content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SAMPLE = 65536


@dataclass(frozen=True)
class FileStamp:
    """Size, times and place of a file, and a hash of its head and tail.

    The time of change (`ctime_ns`) can't be set back by a program as `mtime_ns` can.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    digest: str

    def record(self) -> dict[str, Any]:
        return asdict(self)


def stamp_of(path: Path) -> FileStamp:
    """The stamp of a file. Raises OSError."""
    with path.open("rb") as file:
        return stamp_of_open(file.fileno())


def stamp_of_open(descriptor: int) -> FileStamp:
    """The stamp of an open file. Raises OSError."""
    state = os.fstat(descriptor)
    sample = hashlib.blake2b(os.pread(descriptor, _SAMPLE, 0), digest_size=16)
    sample.update(os.pread(descriptor, _SAMPLE, max(0, state.st_size - _SAMPLE)))
    return FileStamp(
        state.st_size,
        state.st_mtime_ns,
        state.st_ctime_ns,
        state.st_ino,
        state.st_dev,
        sample.hexdigest(),
    )


def quick_stamp(descriptor: int) -> tuple[int, int]:
    """What of an open file changes with its content: enough to notice a write while it is read."""
    state = os.fstat(descriptor)
    return state.st_size, state.st_mtime_ns
