"""Parquet and Arrow files through pyarrow, a row group at a time."""

from __future__ import annotations

import bisect
import threading
from itertools import accumulate
from pathlib import Path
from typing import Any

from engine.datasets.index.packed import inner_suffix, is_packed
from engine.problem import BadInput, Problem


class ParquetRows:
    """A Parquet file; the row group last read is kept."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as parquet

        self._file = parquet.ParquetFile(path)
        meta = self._file.metadata
        sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self._ends = list(accumulate(sizes))
        self._held: tuple[int, Any] | None = None
        self._lock = threading.Lock()  # a ParquetFile is one thread's at a time

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        group = bisect.bisect_right(self._ends, index)
        with self._lock:
            held = self._held
            if held is None or held[0] != group:
                self._held = None  # two groups at once may be more than the memory holds
                held = (group, self._file.read_row_group(group))
                self._held = held
        first = self._ends[group - 1] if group else 0
        row: dict[str, Any] = held[1].slice(index - first, 1).to_pylist()[0]
        return row


class ArrowRows:
    """An Arrow file or stream, memory-mapped."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        source = pyarrow.memory_map(str(path))
        try:
            self._table = pyarrow.ipc.open_file(source).read_all()
        except pyarrow.ArrowInvalid:
            # `datasets` writes the streaming form under the same suffix.
            source.seek(0)
            self._table = pyarrow.ipc.open_stream(source).read_all()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self._table.slice(index, 1).to_pylist()[0]
        return row


def open_table(path: Path) -> ParquetRows | ArrowRows:
    """Open by suffix; a packed file is unpacked into the user's cache first.

    Raises BadInput for a file that is not what its name says.
    """
    import pyarrow

    file = path
    if is_packed(path):
        from engine.datasets.index.unpack import unpack

        file = unpack(path)
    try:
        return ParquetRows(file) if inner_suffix(path) == ".parquet" else ArrowRows(file)
    except (pyarrow.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadInput(
            Problem(
                f"{path.name} is not a valid {inner_suffix(path)[1:]} file: {reason}.",
                str(path),
                "It may be cut short: fetch or write it again.",
                "dataset",
            )
        ) from None
