"""Parquet and Arrow files through pyarrow, a row group at a time."""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from engine.datasets.index.packed import inner_suffix, is_packed
from engine.problem import BadInput, Problem

# A row group that takes more than this is read in pieces of so many rows, one kept at a time.
_MOST_GROUP_BYTES = 256 << 20
_PIECE_ROWS = 1024


class ParquetRows:
    """A Parquet file; the row group last read is kept, of a large one a piece.

    Going forward through a large group is as fast as through a small one; going back begins it
    anew, as the format has no way into the middle of a group.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as parquet

        self._path = path
        # Where each damaged row group can't be read any further, and why.
        self._broken: dict[int, tuple[int, str]] = {}
        meta = parquet.read_metadata(path)
        # Texts that repeat stay as few as in the file: a few bytes may stand for gigabytes.
        shared = _shared_texts(meta)
        self._file = parquet.ParquetFile(path, metadata=meta, read_dictionary=shared)
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        self.names: list[str] = self._file.schema_arrow.names
        self._ends = list(accumulate(group.num_rows for group in groups))
        self._bytes = [group.total_byte_size for group in groups]
        # What is held: the group, the number of its first row, the rows, and how they go on.
        self._held: tuple[int, int, Any, Iterator[Any] | None] | None = None
        self._lock = threading.Lock()  # a ParquetFile is one thread's at a time

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        import pyarrow

        if not 0 <= index < len(self):
            raise IndexError(index)
        with self._lock:
            first, table = self._readable(index)
        try:
            row: dict[str, Any] = table.slice(index - first, 1).to_pylist()[0]
        except UnicodeDecodeError:
            raise damaged_row(self._path, "it holds text that is not UTF-8") from None
        except pyarrow.ArrowException as error:  # a place behind the texts that are shared
            raise damaged_row(self._path, str(error).rstrip(".")) from None
        return row

    def _readable(self, index: int) -> tuple[int, Any]:
        """As `_holding`. Raises BadInput for a damaged group, read to its fault only once."""
        import pyarrow

        group = bisect.bisect_right(self._ends, index)
        first, reason = self._broken.get(group, (index + 1, ""))
        if index >= first:
            raise damaged_row(self._path, reason)
        try:
            return self._holding(index)
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else "it is damaged"
            self._held = None
            self._broken[group] = index, reason
            raise damaged_row(self._path, reason) from None

    def _holding(self, index: int) -> tuple[int, Any]:
        """Rows that hold `index`, and the number of their first."""
        group = bisect.bisect_right(self._ends, index)
        held = self._held
        if held is None or held[0] != group or index < held[1]:
            self._held = held = None  # two groups at once may be more than the memory holds
            held = self._begin(group)
        while index >= held[1] + held[2].num_rows:
            _group, first, table, more = held
            assert more is not None
            held = (group, first + table.num_rows, next(more), more)
        self._held = held
        return held[1], held[2]

    def _begin(self, group: int) -> tuple[int, int, Any, Iterator[Any] | None]:
        first = self._ends[group - 1] if group else 0
        if self._bytes[group] <= _MOST_GROUP_BYTES:
            return group, first, self._file.read_row_group(group), None
        pieces = self._file.iter_batches(_PIECE_ROWS, row_groups=[group])
        return group, first, next(pieces), pieces


def _shared_texts(meta: Any) -> list[str]:
    """The columns of texts or bytes whose values are written once and referred to."""
    found = set()
    for group in range(meta.num_row_groups):
        for place in range(meta.num_columns):
            column = meta.row_group(group).column(place)
            shares = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"} & set(column.encodings)
            if column.physical_type == "BYTE_ARRAY" and shares:
                found.add(column.path_in_schema)
    return sorted(found)


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
        self._path = path
        self.names: list[str] = self._table.schema.names
        self._batches = self._table.to_batches()
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))
        # What is wrong with each batch that was looked at, empty where nothing is.
        self._faults: dict[int, str] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = bisect.bisect_right(self._ends, index)
        if place not in self._faults:
            self._faults[place] = self._fault(place)
        if self._faults[place]:
            raise damaged_row(self._path, self._faults[place])
        first = self._ends[place - 1] if place else 0
        row: dict[str, Any] = self._batches[place].slice(index - first, 1).to_pylist()[0]
        return row

    def _fault(self, place: int) -> str:
        """The file is mapped as it is: a damaged one would lead pyarrow out of its memory."""
        import pyarrow

        try:
            self._batches[place].validate(full=True)
        except pyarrow.ArrowException as error:
            return str(error).splitlines()[0].rstrip(".")
        return ""


def damaged_row(path: Path, reason: str) -> BadInput:
    """The error for a row of a table that can't be read; one sentence for all of its group."""
    return BadInput(
        Problem(
            f"the row can't be read: {reason}",
            str(path),
            "The file is damaged: fetch or write it again.",
            "dataset",
        )
    )


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it can be shown, in what JSON knows: bytes as their number, times as text."""
    return {str(key): plain_value(value) for key, value in row.items()}


def plain_value(value: Any) -> Any:
    """As `plain_row`, of one value."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return plain_row(value)
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value):,} bytes)"
    return str(value)


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
        rows = ParquetRows(file) if inner_suffix(path) == ".parquet" else ArrowRows(file)
        twice = [name for name, count in Counter(rows.names).items() if count > 1]
        if twice:
            raise BadInput(
                Problem(
                    f"{path.name} has two columns named {twice[0]!r}.",
                    str(path),
                    "Rename one.",
                    "dataset",
                )
            )
        return rows
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's word, not pyarrow's
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadInput(
            Problem(
                f"{path.name} is not a valid {inner_suffix(path)[1:]} file: {reason}.",
                str(path),
                "It may be cut short: fetch or write it again.",
                "dataset",
            )
        ) from None
