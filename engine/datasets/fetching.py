"""One file from elsewhere to the disk: gone on from where it broke off, whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from engine.problem import BadInput, Problem

# Seconds before each new try after the line broke.
WAITS: tuple[float, ...] = (1, 2, 4, 8)
SPARE_BYTES = 200_000_000

# Bytes from a place on: whether they begin there (else at 0), and the pieces.
Opened = tuple[bool, Iterator[bytes]]


class LineBroke(Exception):
    """The server can't be reached or stopped in the middle; another try may do."""


def fetch_file(
    target: Path,
    size: int,
    open_at: Callable[[int], AbstractContextManager[Opened]],
    told: Callable[[int], None],
    check_stop: Callable[[], object],
    sha256: str = "",
) -> None:
    """Write `target` of `size` bytes. `told(bytes so far)`; `check_stop()` is asked between pieces.

    Raises LineBroke when every try broke, BadInput for a full disk or wrong bytes.
    """
    if target.is_file() and target.stat().st_size == size:
        told(size)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(target.parent).free
    if size - have + SPARE_BYTES > free:
        raise BadInput(
            Problem(
                f"{target.name} needs {(size - have) / 1e9:.1f} GB more on the disk, and "
                f"{free / 1e9:.1f} GB are free.",
                str(target.parent),
                "Free some space, or let the cache lie on another disk.",
            )
        )
    for wait in (*WAITS, None):
        have = part.stat().st_size if part.exists() else 0
        try:
            with open_at(have if have < size else 0) as (goes_on, pieces):
                going = goes_on and have < size
                with part.open("ab" if going else "wb") as file:
                    done = have if going else 0
                    for piece in pieces:
                        check_stop()
                        file.write(piece)
                        done += len(piece)
                        told(done)
                    file.flush()
                    os.fsync(file.fileno())
            if done < size:
                raise LineBroke(f"{done:,} of {size:,} bytes came")
            break
        except LineBroke:
            if wait is None:
                raise
            if part.exists() and part.stat().st_size > have:
                wait = WAITS[0]
            time.sleep(wait)
    if part.stat().st_size != size or (sha256 and _digest(part) != sha256):
        part.unlink()
        raise BadInput(
            Problem(
                f"{target.name} came damaged: its bytes are not those the hub promised.",
                str(target),
                "Try again.",
            )
        )
    os.replace(part, target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
