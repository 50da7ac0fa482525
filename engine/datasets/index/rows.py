"""Rows of a file by number, while its index is still being made, and ever after."""

from __future__ import annotations

import threading
import time
import weakref
from pathlib import Path
from typing import Any

from engine.datasets.index.blocks import (
    BLOCK_BYTES,
    Blocks,
    index_path,
    load_blocks,
    save_blocks,
)
from engine.datasets.index.detect import find_layout
from engine.datasets.index.layout import MOST_ROW_BYTES, Layout, Span, too_long
from engine.datasets.index.source import Source, open_source
from engine.datasets.index.stamp import FileStamp
from engine.problem import BadInput, Problem

# Behind their first rows, so many files are gone through at a time.
_turns = threading.BoundedSemaphore(2)
_SAVE_EVERY = 5.0
_CLOSE_SECONDS = 1.0
_READ_FIRST = 4 * BLOCK_BYTES
# A block beyond this (it holds one long row) is not kept for the rows beside.
_KEEP_UP_TO = 8 << 20


# What is open, so that nobody goes through the same file beside another.
_open: weakref.WeakValueDictionary[tuple[Path, str], IndexedRows] = weakref.WeakValueDictionary()
_opening = threading.Lock()


class _Abandoned(Exception):
    """Nobody wants the index any more."""


class IndexedRows:
    """Rows of one file. `rows[i]` and `len(rows)` wait for the index to come so far.

    `known` rows can be read at once; `share` of the file has been gone through; `fault` says why
    the rest can't be. Any thread may read.
    """

    def __init__(self, path: Path, source: Source, layout: Layout) -> None:
        self._path = path
        self._source = source
        self._layout = layout
        self._store = index_path(path)
        self._identity = {
            "layout": layout.name,
            "stamp": source.stamp.record(),
            "block": BLOCK_BYTES,
        }
        self._news = threading.Condition()
        self._held: tuple[int, bytes, list[Span]] | None = None
        self._place = 0
        self._abandoned = False
        self._holders = 1
        self.fault: BaseException | None = None
        start, line = layout.begin(source.pread)
        kept = load_blocks(self._store, self._identity) if source.settled else None
        if kept is None or not len(kept):
            kept = Blocks()
            kept.add(0, start, line)
        self._blocks = kept
        self._thread: threading.Thread | None = None
        if kept.end is None:
            self._thread = threading.Thread(
                target=self._build, name=f"finetui-index-{path.name}", daemon=True
            )
            self._thread.start()

    # Any thread

    @property
    def known(self) -> int:
        return self._blocks.known

    @property
    def done(self) -> bool:
        """Whether nothing more will be known: all is, or a fault stands in the way."""
        return self._blocks.end is not None or self.fault is not None

    @property
    def share(self) -> float:
        if self._blocks.end is not None:
            return 1.0
        return min(1.0, self._source.share(self._place))

    def __len__(self) -> int:
        self._wait(None)
        return self._blocks.total

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            raise IndexError(index)
        raw, line = self.raw(index)
        return self._layout.parse(raw, line)

    def raw(self, index: int) -> tuple[bytes, int]:
        """The bytes of a row, and its line. Raises BadInput, and IndexError behind the end."""
        self._reach(index)
        block = self._blocks.find(index)
        raw, spans = self._block(block, index - self._blocks.rows[block])
        start, end, line = spans[index - self._blocks.rows[block]]
        return raw[start:end], line

    def stretch(self, index: int) -> tuple[range, bytes] | None:
        """The known rows from `index` to the end of its block, and the bytes that hold them: what
        no row of them holds does not stand in the bytes. None where they are more than is read."""
        self._reach(index)
        blocks = self._blocks
        block = blocks.find(index)
        start, end = blocks.span(block)
        if end - start > MOST_ROW_BYTES:
            return None
        return range(index, self._behind(block)), self._source.pread(end - start, start)

    def parse(self, raw: bytes, line: int) -> Any:
        return self._layout.parse(raw, line)

    def settle(self) -> None:
        """Wait until the index is saved, or given up."""
        if self._thread is not None:
            self._thread.join()

    def share_with(self, stamp: FileStamp) -> bool:
        """Let another have these rows too, if they are of this content, whole, and going on."""
        same = self._source.stamp == stamp and not self._abandoned and self.fault is None
        self._holders += same
        return same

    def abandon(self) -> None:
        """Give up what is still to be gone through, unless another waits for it; what is known
        stays readable, and is kept for the next time."""
        self._holders -= 1
        if self._holders <= 0:
            self._abandoned = True

    def kept(self) -> None:
        """Once given up: wait a moment until what is known is kept."""
        if self._thread is not None and self._abandoned:
            self._thread.join(_CLOSE_SECONDS)

    def close(self) -> None:
        """Give up, and wait a moment until what is known is kept."""
        self.abandon()
        self.kept()

    # Reading

    def _reach(self, index: int) -> None:
        if index >= self._blocks.known:
            self._wait(index)
            if index >= self._blocks.known:
                raise IndexError(index)

    def _behind(self, block: int) -> int:
        rows = self._blocks.rows
        return rows[block + 1] if block + 1 < len(rows) else self._blocks.total

    def _block(self, block: int, wanted: int) -> tuple[bytes, list[Span]]:
        held = self._held
        if held is not None and held[0] == block:
            return held[1], held[2]
        if self._source.changed():
            raise self._changed()
        start, end = self._blocks.span(block)
        size, piece = end - start, min(end - start, _READ_FIRST)
        count = self._behind(block) - self._blocks.rows[block]
        while True:
            raw = self._source.pread(piece, start)
            final = piece >= size
            spans = self._layout.spans(raw, self._blocks.lines[block], final)[:count]
            if final or len(spans) > wanted:
                break
            if piece >= MOST_ROW_BYTES:
                line = self._blocks.lines[block] + raw.count(
                    b"\n", 0, spans[-1][1] + 1 if spans else 0
                )
                raise too_long(self._path, line)
            piece = min(size, piece * 4)
        if len(spans) <= wanted or len(raw) < piece:
            raise self._changed()
        if final and size <= _KEEP_UP_TO:
            self._held = (block, raw, spans)
        return raw, spans

    def _wait(self, index: int | None) -> None:
        """Until row `index` is known (None: all), or never will be."""
        with self._news:
            while not self.done and (index is None or index >= self._blocks.known):
                self._news.wait()
        if self.fault is not None and (index is None or index >= self._blocks.known):
            if isinstance(self.fault, BadInput):
                raise BadInput(self.fault.problem)
            raise self.fault

    # The thread that goes through the file

    def _build(self) -> None:
        self._turn = False
        self._saved = time.monotonic()
        try:
            self._layout.scan(self._source.pread, self._blocks, self._step)
            if self._source.changed():
                # What was noted may be of two contents.
                self._blocks.end = None
                raise self._changed()
            save_blocks(self._store, self._identity, self._blocks)
        except _Abandoned:
            self._keep()
            self.fault = BadInput(self._given_up())
        except OSError as error:
            from engine.datasets.files import unreadable

            self.fault = unreadable(self._path, error)
        except BaseException as error:  # who waits for the rows is told, whatever it is
            self.fault = error
        finally:
            if self._turn:
                _turns.release()
            with self._news:
                self._news.notify_all()

    def _step(self, place: int) -> None:
        self._place = place
        with self._news:
            self._news.notify_all()
        if self._abandoned:
            raise _Abandoned
        if not self._turn:
            # The first rows never wait for another file.
            while not _turns.acquire(timeout=0.1):
                if self._abandoned:
                    raise _Abandoned
            self._turn = True
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._keep()

    def _keep(self) -> None:
        """Save what is noted so far: the next start goes on from there."""
        if self._source.settled and not self._source.changed():
            save_blocks(self._store, self._identity, self._blocks)
        self._saved = time.monotonic()

    def _changed(self) -> BadInput:
        return BadInput(
            Problem(
                f"{self._path.name} was changed while it was read.",
                str(self._path),
                "Open the set again.",
                "dataset",
            )
        )

    def _given_up(self) -> Problem:
        return Problem(
            f"{self._path.name} was not read to its end.", str(self._path), "", "dataset"
        )


def open_indexed(path: Path, suffix: str) -> IndexedRows:
    """Open a text file of rows; `suffix` says its kind. Returns once its first bytes are read.
    A file that is open already (the browser's, when a check begins) is gone through once for all.

    Raises OSError, and BadInput where it can be seen already that the file can't be used.
    """
    source = open_source(path)
    with _opening:
        rows = _open.get((path.resolve(), suffix))
        if rows is not None and rows.share_with(source.stamp):
            return rows
        rows = IndexedRows(path, source, find_layout(path, suffix, source.pread))
        _open[path.resolve(), suffix] = rows
    return rows
