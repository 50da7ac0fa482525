"""Files from elsewhere to the disk: gone on from where the line broke, whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from engine.problem import BadInput, Problem

# Seconds before each new try after the line broke; one that brought something starts them anew.
WAITS: tuple[float, ...] = (1, 2, 4, 8, 15)
# Left free beside what a fetch needs: a full disk harms everything else on it.
SPARE_BYTES = 200_000_000

CheckStop = Callable[[], object]


class LineBroke(Exception):
    """The server can't be reached or stopped in the middle; another try may do."""


class Overlong(Exception):
    """More bytes came than were promised."""


@dataclass(frozen=True)
class Stream:
    """What a server sends: `from_start` tells that it began at byte 0 whatever was asked.

    `chunks` are to be small, as they arrive: what a break cuts off from one is lost.
    """

    from_start: bool
    chunks: Iterator[bytes]


OpenAt = Callable[[int], AbstractContextManager[Stream]]


def receive(
    part: Path, size: int, open_at: OpenAt, told: Callable[[int], None], check_stop: CheckStop
) -> None:
    """Bring `part` to `size` bytes, going on from what it holds.

    `open_at(byte)` asks the server; `told(bytes so far)`; `check_stop()` is asked between pieces
    and while waiting. Raises LineBroke when every try in a row broke without bringing anything (the
    part stays), Overlong where more comes than `size`.
    """
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    told(have)
    tries = 0
    while have < size:
        check_stop()
        before = have
        try:
            have = _receive(part, have, size, open_at, told, check_stop)
        except LineBroke:
            have = part.stat().st_size if part.exists() else 0
            tries = 0 if have > before else tries
            if tries >= len(WAITS):
                raise
            _wait(WAITS[tries], check_stop)
            tries += 1
    part.touch()


def _receive(
    part: Path,
    have: int,
    size: int,
    open_at: OpenAt,
    told: Callable[[int], None],
    check_stop: CheckStop,
) -> int:
    """Append what the server sends from byte `have` on; returns the bytes that are there then."""
    with open_at(have) as stream:
        if stream.from_start:
            have = 0
        with part.open("r+b" if have else "wb") as out:
            out.seek(have)
            out.truncate()
            for chunk in stream.chunks:
                if have + len(chunk) > size:
                    raise Overlong
                out.write(chunk)
                have += len(chunk)
                told(have)
                check_stop()
            out.flush()
            os.fsync(out.fileno())
    if have < size:
        raise LineBroke(f"{have:,} of {size:,} bytes came")
    return have


def _wait(seconds: float, check_stop: CheckStop) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(0.2, left))


def fetch_file(
    target: Path,
    size: int,
    open_at: OpenAt,
    told: Callable[[int], None],
    check_stop: CheckStop,
    sha256: str = "",
) -> None:
    """Write `target` of `size` bytes by way of a part beside it, as `receive` does.

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
    try:
        receive(part, size, open_at, told, check_stop)
        right = not sha256 or _digest(part) == sha256
    except Overlong:
        right = False
    if not right:
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
