"""The rows of one dataset by number: as they stand in the file, and converted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.counts import RowCounts
from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.example import Example, RowProblem
from engine.datasets.files import Rows
from engine.datasets.fill import Fill, is_filled
from engine.datasets.formats import RowFault, convert
from engine.datasets.joined import known_rows, stretch_of
from engine.datasets.local import open_local
from engine.datasets.registry import find_dataset
from engine.datasets.repeated_keys import RepeatingRow
from engine.problem import BadInput

if TYPE_CHECKING:
    from engine.datasets.hub import Access
    from engine.datasets.listing import DatasetEntry

# So many rows with repeated keys are remembered; more are alike.
MOST_REPEATED = 100_000


class RowIndex:
    """Rows of `info`, from 0. Thread-safe to read; parsing happens when a row is asked for.

    A large file is still being gone through when this is made: `known` rows can be read at once,
    others and `len` wait for it.
    """

    def __init__(self, info: DatasetInfo, rows: Rows, fill: Fill | None = None) -> None:
        self.info = info
        self.name = info.name
        self.filled = fill is not None and is_filled(info)
        self._rows = rows
        self._fill = fill if self.filled else None
        # Of the rows converted so far (from 1), those in which a key stands twice, and the keys.
        self.repeated: dict[int, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def known(self) -> int:
        """How many rows can be read without waiting."""
        return known_rows(self._rows)

    def has(self, index: int) -> bool:
        """Whether there is a row `index`; waits until that is known. Raises BadInput where a fault
        of the file stands in the way."""
        if index < self.known:
            return True
        if not self.done:
            try:
                self._rows[index]
            except IndexError:
                return False
            except BadInput:
                if index >= self.known:
                    raise
            return True
        return index < len(self)

    @property
    def done(self) -> bool:
        """Whether no more rows will be known: all are, or `fault` stands in the way."""
        return bool(getattr(self._rows, "done", True))

    @property
    def share(self) -> float:
        """How much of the files has been gone through, 0 to 1."""
        return float(getattr(self._rows, "share", 1.0))

    @property
    def fault(self) -> BaseException | None:
        """Why the rows behind the known ones can't be had, if so."""
        return getattr(self._rows, "fault", None)

    @property
    def rows(self) -> Rows:
        """The rows as their files hold them."""
        return self._rows

    def learn_count(self) -> None:
        """Remember how many rows there are, for the list of sets."""
        if self.info.path is not None:
            counts = RowCounts()
            counts.learn(self.info, len(self))
            counts.save()

    def stretch(self, index: int) -> tuple[range, bytes] | None:
        """Rows from `index` on that lie together in a file, and the bytes that hold them; None
        where its files have no such bytes. Raises BadInput."""
        return stretch_of(self._rows, index)

    def close(self) -> None:
        """Give up what of the files is still to be gone through; the next time goes on there."""
        if hasattr(self._rows, "close"):
            self._rows.close()

    def raw(self, index: int) -> dict[str, Any]:
        """Row `index` as the file holds it. Raises BadInput, naming the line, if it can't be."""
        row = self._rows[index]
        if not isinstance(row, dict):
            raise BadInput(_not_an_object(self.info, index, row))
        return row

    def example(self, index: int) -> Example | RowProblem:
        """Row `index` converted, or why it can't be used. Never raises for a bad row."""
        try:
            row = self._rows[index]
        except BadInput as error:
            problem = error.problem
            place = f" ({problem.where})" if problem.where else ""
            return RowProblem(self.name, index + 1, problem.what.rstrip(".") + place)
        if not isinstance(row, dict):
            return RowProblem(self.name, index + 1, _not_an_object(self.info, index, row).what)
        if isinstance(row, RepeatingRow) and len(self.repeated) < MOST_REPEATED:
            self.repeated[index + 1] = row.repeated
        try:
            example = convert(row, self.info, index + 1)
        except RowFault as fault:
            return RowProblem(self.name, index + 1, str(fault))
        return self._fill.example(example) if self._fill else example


def open_rows(
    source: DatasetEntry | DatasetInfo | str,
    dataset_dir: str | Path | None = None,
    fill: Fill | None = None,
    token: str | None = None,
    access: Access | None = None,
) -> RowIndex:
    """Open a set for reading. `source` is a listed entry, its info, or a name of `dataset_dir`.

    `fill` replaces the placeholders of the bundled identity set and of no other. Raises BadInput
    for a file that can't be read. A hub set is downloaded, as `access` says (or with `token`):
    not on the screen's thread.
    """
    if isinstance(source, str):
        info = find_dataset(source, dataset_dir)
    elif isinstance(source, DatasetInfo):
        info = source
    elif source.info is None:
        assert source.problem is not None
        raise BadInput(source.problem)
    else:
        info = source.info
    if info.path is None:
        from engine.datasets.hub import Access, open_hub

        return RowIndex(info, open_hub(info, access or Access(token)), fill)
    index = RowIndex(info, open_local(info), fill)
    if index.done and index.fault is None:
        index.learn_count()
    return index


def _not_an_object(info: DatasetInfo, index: int, row: Any) -> Any:
    from engine.problem import Problem

    kind = {list: "a list", str: "text", type(None): "null"}.get(type(row), "a bare value")
    return Problem(
        f"the row is {kind}, not an object with columns",
        f"{info.source}, row {index + 1}",
        "Each row must be an object.",
        "dataset",
    )
