"""The bytes of a file as its rows' layout sees them: as they stand, or unpacked from gz or zst."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from engine.datasets.index.packed import is_packed
from engine.datasets.index.stamp import FileStamp, quick_stamp, stamp_of_open
from engine.datasets.index.unpack import Unpacking


class Source(Protocol):
    """Where bytes come from. One thread scans from front to back, others read what was scanned."""

    stamp: FileStamp
    settled: bool

    def pread(self, count: int, place: int) -> bytes: ...

    def share(self, place: int) -> float: ...

    def changed(self) -> bool: ...


class PlainSource:
    """A file as it stands."""

    settled = True

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.stamp = stamp_of_open(self._descriptor)
        self._quick = self.stamp.size, self.stamp.mtime_ns

    def pread(self, count: int, place: int) -> bytes:
        got = os.pread(self._descriptor, count, place)
        if len(got) == count or not got:
            return got
        # A read may give less than there is (2 GiB at a time, a signal, a network disk).
        parts = [got]
        have = len(got)
        while have < count and (more := os.pread(self._descriptor, count - have, place + have)):
            parts.append(more)
            have += len(more)
        return b"".join(parts)

    def share(self, place: int) -> float:
        return place / self.stamp.size if self.stamp.size else 1.0

    def changed(self) -> bool:
        return quick_stamp(self._descriptor) != self._quick

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


class PackedSource:
    """A gz or zst file, unpacked into the user's cache as far as the scan has come."""

    def __init__(self, path: Path) -> None:
        self._packed = PlainSource(path)
        self.stamp = self._packed.stamp
        self._unpacking = Unpacking(path, self._packed.pread, self.stamp)
        self.settled = self._unpacking.done

    def pread(self, count: int, place: int) -> bytes:
        return self._unpacking.pread(count, place)

    def share(self, place: int) -> float:
        return 1.0 if self._unpacking.done else self._packed.share(self._unpacking.taken)

    def changed(self) -> bool:
        return self._packed.changed()


def open_source(path: Path) -> Source:
    """The bytes of a file. Raises OSError, and BadInput where it can't be unpacked."""
    return PackedSource(path) if is_packed(path) else PlainSource(path)
