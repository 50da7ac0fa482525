"""How many tokens each row has, counted once in the background and kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.index.stamp import stamp_of
from engine.datasets.local import local_files
from engine.paths import cache_dir
from engine.problem import BadInput
from engine.runs.atomic import write_atomic

if TYPE_CHECKING:
    from engine.datasets.encode import Encoder
    from engine.datasets.encoded import Encoded
    from engine.datasets.rows import RowIndex

_MAGIC = b"finetui lengths 1\n"
_BLOCK = 256
_SAVE_EVERY = 20.0


class TokenLengths:
    """Tokens of each row, before the cutoff; 0 for a row that can't be used.

    `encoder` makes the encoder when it is needed: none is where the cache has all. `identity` tells
    the model, template and settings that the tokens depend on. What was counted is kept when the
    work is given up, and gone on with the next time.
    """

    # What stands for a row that can't be used.
    UNUSABLE = 0

    def __init__(
        self,
        rows: RowIndex,
        encoder: Callable[[], Encoder],
        identity: str,
        told: Callable[[], None] | None = None,
    ) -> None:
        self.rows = rows
        self.lengths = array("I")
        self.fault: BaseException | None = None
        self.done = False
        self._encoder = encoder
        self._identity = identity
        self._told = told
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._go, name="finetui-lengths", daemon=True)
        self._thread.start()

    @staticmethod
    def measure(row: Encoded) -> int:
        """What is counted of a row."""
        return len(row.ids) + row.cut

    def at(self, index: int) -> int:
        """The count of a row; waits for it. UNUSABLE where the work was given up before. Raises
        what the counting ended with."""
        while index >= len(self.lengths):
            if self.fault is not None:
                raise self.fault
            if self.done or self._cancelled.is_set():
                return self.UNUSABLE
            time.sleep(0.005)
        return self.lengths[index]

    @property
    def share(self) -> float:
        """How much has been counted, 0 to 1."""
        if self.done:
            return 1.0
        known = self.rows.known
        return min(1.0, len(self.lengths) / known * self.rows.share) if known else 0.0

    def order(self, longest_first: bool) -> array[int]:
        """All rows by their length, rows of one length in the file's order. Once `done`."""
        import numpy as np

        lengths = np.frombuffer(self.lengths, dtype=np.uint32).astype(np.int64)
        order = np.argsort(-lengths if longest_first else lengths, kind="stable")
        found: array[int] = array("Q")
        found.frombytes(order.astype(np.uint64).tobytes())
        return found

    def cancel(self) -> None:
        """Give up; what was counted is kept."""
        self._cancelled.set()

    def join(self, seconds: float | None = None) -> None:
        self._thread.join(seconds)

    # The thread

    def _go(self) -> None:
        try:
            self._count()
        except BaseException as error:  # told by the pane that asked, whatever it is
            self.fault = error
        if self._told is not None:
            self._told()

    def _count(self) -> None:
        identity = self._key()
        place = cache_dir() / "lengths" / f"{hashlib.sha256(identity).hexdigest()[:32]}.lengths"
        kept = _load(place, identity) if identity else None
        if kept is not None:
            self.lengths = kept
        if self.rows.has(len(self.lengths)):
            self._go_on(place, identity)
        self.done = self.rows.done and len(self.lengths) == self.rows.known

    def _go_on(self, place: Path, identity: bytes) -> None:
        encoder, saved = self._encoder(), time.monotonic()
        # Rows are counted as the index comes to them.
        while not self._cancelled.is_set() and self.rows.has(len(self.lengths)):
            start = len(self.lengths)
            self.lengths.extend(self._block(encoder, start, max(self.rows.known, start + 1)))
            if time.monotonic() - saved > _SAVE_EVERY:
                _save(place, identity, self.lengths)
                saved = time.monotonic()
        if identity:
            _save(place, identity, self.lengths)

    def _block(self, encoder: Encoder, start: int, total: int) -> list[int]:
        from engine.datasets.example import Example, RowProblem

        found = [self.rows.example(i) for i in range(start, min(start + _BLOCK, total))]
        good = [example for example in found if isinstance(example, Example)]
        encoded = iter(encoder.encode_batch(good, self.rows.name))
        lengths = []
        for example in found:
            row = next(encoded) if isinstance(example, Example) else None
            known = row is not None and not isinstance(row, RowProblem)
            lengths.append(self.measure(row) if known else self.UNUSABLE)  # type: ignore[arg-type]
        return lengths

    def _key(self) -> bytes:
        """What the lengths depend on; empty where the set's files can't be told apart."""
        info = self.rows.info
        if info.path is None:
            return b""
        with contextlib.suppress(OSError, BadInput):
            stamps = [[str(one), stamp_of(one).record()] for one in local_files(info)]
            shape = [info.split, info.formatting, info.ranking, repr(info.columns), repr(info.tags)]
            return json.dumps([stamps, shape, self.rows.filled, self._identity]).encode()
        return b""


def encoder_identity(folder: Path, flat: dict[str, Any]) -> str:
    """The model's files that its tokens depend on, and the settings."""
    files: list[Any] = []
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        with contextlib.suppress(OSError):
            state = os.stat(folder / name)
            files.append([name, state.st_size, state.st_mtime_ns])
    return json.dumps([str(folder), files, flat], sort_keys=True, default=str)


def _save(path: Path, identity: bytes, lengths: array[int]) -> None:
    body = lengths.tobytes()
    head = {"crc": zlib.crc32(body), "order": sys.byteorder, "width": lengths.itemsize}
    text = json.dumps(head | {"of": hashlib.sha256(identity).hexdigest()}).encode()
    # A cache that can't be written costs the next start its time, nothing else.
    with contextlib.suppress(OSError):
        write_atomic(path, _MAGIC + len(text).to_bytes(8, "little") + text + body)


def _load(path: Path, identity: bytes) -> array[int] | None:
    lengths: array[int] = array("I")
    try:
        raw = path.read_bytes()
        start = len(_MAGIC)
        size = int.from_bytes(raw[start : start + 8], "little")
        head = json.loads(raw[start + 8 : start + 8 + size])
        body = raw[start + 8 + size :]
        wanted = (zlib.crc32(body), sys.byteorder, lengths.itemsize)
        if not raw.startswith(_MAGIC) or (head["crc"], head["order"], head["width"]) != wanted:
            return None
        if head["of"] != hashlib.sha256(identity).hexdigest():
            return None
        lengths.frombytes(body)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return lengths
