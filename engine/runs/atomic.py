"""Files that are either whole or absent: written beside, flushed, then renamed."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

_NEW = 0o644  # who may read and write a new file


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `data` to `path` so that a crash leaves the old file or the new one, never half.

    A file that is replaced keeps who may read and write it; a new one is readable by all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_of(path))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def settle(file: Path) -> None:
    """Make durable what a library wrote, and readable by all as the files beside it are:
    safetensors writes for the owner only, and weights are there to be loaded by others too."""
    os.chmod(file, _NEW)
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _mode_of(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return _NEW


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
