"""Files packed by gz or zst: unpacked once, into the user's cache, within bounds.

A zip bomb is found by how much more comes out than went in; the cache holds a bounded sum, the
sets that were used longest ago go first.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.datasets.index.blocks import index_path
from engine.datasets.index.packed import inner_suffix
from engine.datasets.index.stamp import FileStamp
from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic

# Text packs to a tenth or so; what grows more than this is no dataset.
MOST_RATIO = 200
RATIO_FROM = 64 << 20
MOST_UNPACKED = 64 << 30
# Room that is left to others on the disk, and the most that unpacked sets take together.
SPARE_DISK = 1 << 30
CACHE_BYTES = 64 << 30
_CHUNK = 1 << 20


class Unpacking:
    """The unpacked bytes of a file. Reading beyond what is there unpacks on, and only one thread
    may do that; others read what is there."""

    def __init__(self, path: Path, packed: Callable[[int, int], bytes], stamp: FileStamp) -> None:
        self._path = path
        self._stamp = stamp
        self._final = unpacked_path(path)
        self.taken = 0
        self.size = 0
        self.done = _whole(path, stamp)
        if self.done:
            self._descriptor = os.open(self._final, os.O_RDONLY)
            self.size = os.fstat(self._descriptor).st_size
            with contextlib.suppress(OSError):
                os.utime(self._final)  # used last
            return
        self._final.parent.mkdir(parents=True, exist_ok=True)
        make_room(self._final.parent, stamp.size)
        self._part = self._final.with_name(f".{self._final.name}.{os.getpid()}.{id(self)}")
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._pieces = _pieces(path, packed, self._took)
        self._lock = threading.Lock()

    def _took(self, taken: int) -> None:
        self.taken = taken

    def pread(self, count: int, place: int) -> bytes:
        """Bytes of the unpacked file. Raises BadInput where it can't be unpacked so far."""
        if not self.done and place + count > self.size:
            with self._lock:
                while not self.done and self.size < place + count:
                    try:
                        self._go_on()
                    except BaseException:
                        self._drop()
                        raise
        return os.pread(self._descriptor, count, place)

    def _go_on(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._finish()
            return
        size = self.size + len(piece)
        if size > RATIO_FROM and size > MOST_RATIO * max(1, self.taken):
            raise _bad(
                self._path,
                f"unpacks to more than {MOST_RATIO} times its size: it looks like a zip bomb",
                "If it is wanted, unpack it by hand.",
            )
        if size > MOST_UNPACKED:
            raise _bad(
                self._path,
                f"unpacks to more than {MOST_UNPACKED >> 30} GB",
                "Unpack it by hand, or cut it into several files.",
            )
        if size // SPARE_DISK != self.size // SPARE_DISK or not self.size:
            free = shutil.disk_usage(self._final.parent).free
            if free < SPARE_DISK:
                raise _bad(
                    self._path,
                    "can't be unpacked: the disk of the cache is nearly full",
                    f"Make room below {self._final.parent}, or set FINETUI_CACHE elsewhere.",
                )
        view = memoryview(piece)
        place = self.size
        while view:
            written = os.pwrite(self._descriptor, view, place)
            place += written
            view = view[written:]
        self.size = place

    def _finish(self) -> None:
        record = {"stamp": self._stamp.record(), "size": self.size}
        # Without its record the file counts for nothing; so it comes last.
        with contextlib.suppress(OSError):
            os.replace(self._part, self._final)
            write_atomic(_record_path(self._path), json.dumps(record))
        self.done = True

    def _drop(self) -> None:
        with contextlib.suppress(OSError):
            self._part.unlink()

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)
        if hasattr(self, "_part") and not self.done:
            self._drop()


def unpack(path: Path) -> Path:
    """The unpacked file of a packed one, whole. Raises OSError and BadInput."""
    from engine.datasets.index.source import PlainSource

    source = PlainSource(path)
    work = Unpacking(path, source.pread, source.stamp)
    while not work.done:
        work.pread(_CHUNK, work.size)
    return unpacked_path(path)


def unpacked_path(path: Path) -> Path:
    """Where a packed file lies unpacked."""
    return index_path(path, ".unpacked" + inner_suffix(path))


def _record_path(path: Path) -> Path:
    return index_path(path, ".unpacked.of")


def _whole(path: Path, stamp: FileStamp) -> bool:
    """Whether a file lies unpacked, from this very content, whole."""
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
        size = unpacked_path(path).stat().st_size
        return bool(record["stamp"] == stamp.record() and record["size"] == size)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def make_room(folder: Path, coming: int) -> None:
    """Drop what was left half unpacked, and the unpacked sets that were used longest ago, until
    `coming` bytes more, packed, fit."""
    import psutil

    found = []
    for item in folder.glob(".*.unpacked.*.*.*"):
        # Half unpacked by a process that is no more.
        number = item.name.split(".")[-2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            with contextlib.suppress(OSError):
                item.unlink()
    for item in folder.glob("[!.]*.unpacked.*"):
        if not item.name.endswith(".unpacked.of"):
            with contextlib.suppress(OSError):
                state = item.stat()
                found.append((state.st_mtime, state.st_size, item))
    # What is coming is known packed only; text takes about ten times that.
    held = sum(size for _time, size, _item in found) + 10 * coming
    for _time, size, item in sorted(found):
        if held <= CACHE_BYTES:
            break
        with contextlib.suppress(OSError):
            item.unlink()
        held -= size


def _pieces(
    path: Path, packed: Callable[[int, int], bytes], took: Callable[[int], None]
) -> Iterator[bytes]:
    """The unpacked bytes in pieces of at most a few MB. Raises BadInput where they are damaged."""
    reader = _Reader(packed, took)
    try:
        if path.suffix.lower() == ".gz":
            opened = gzip.GzipFile(fileobj=reader, mode="rb")  # type: ignore[call-overload]
        else:
            import pyarrow

            opened = pyarrow.CompressedInputStream(pyarrow.PythonFile(reader, mode="r"), "zstd")
        with opened:
            while piece := opened.read(_CHUNK):
                yield piece
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it is damaged"
        raise _bad(
            path,
            f"can't be unpacked: {reason[:1].lower()}{reason[1:]}",
            "It may be cut short or damaged: fetch it again.",
        ) from None


class _Reader:
    """A packed file for a decompressor, which tells how much of it was taken."""

    def __init__(self, packed: Callable[[int, int], bytes], took: Callable[[int], None]) -> None:
        self._packed = packed
        self._took = took
        self._place = 0
        self.closed = False

    def read(self, count: int = -1) -> bytes:
        got = self._packed(_CHUNK if count is None or count < 0 else count, self._place)
        self._place += len(got)
        self._took(self._place)
        return got

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """A reader has nothing to write; gzip asks all the same."""

    def close(self) -> None:
        self.closed = True


def _bad(path: Path, what: str, hint: str) -> BadInput:
    return BadInput(Problem(f"{path.name} {what}.", str(path), hint, "dataset"))
