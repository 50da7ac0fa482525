"""Encoded rows as the trainer wants them, and the order in which an epoch visits them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.datasets.encoded import IGNORED
from engine.datasets.stage_rows import TokenRows
from engine.datasets.streaming import StreamedRows

if TYPE_CHECKING:
    import datasets
    import torch


class Rows(Protocol):
    """Encoded rows: `StageRows` of `engine.datasets`, or a list of such dictionaries."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


Strategy = Literal["random", "sequential", "group_by_length"]


def to_dataset(rows: Rows) -> datasets.Dataset:
    """A `datasets.Dataset` of the rows' columns and `length`, held in memory.

    Lists of tokens are stored as such; `length` is the tokens of a row's longest sequence.
    """
    import datasets
    import numpy
    import pyarrow

    if isinstance(rows, StreamedRows):
        numbers = pyarrow.array(numpy.arange(len(rows), dtype=numpy.int64))
        return datasets.Dataset(pyarrow.table({"row": numbers})).with_transform(fetching(rows))
    if isinstance(rows, TokenRows) and type(rows) is TokenRows and not rows.has_media:
        return datasets.Dataset(_table(rows))
    tokens: dict[str, tuple[array[int], array[int]]] = {}
    plain: dict[str, list[Any]] = {}
    lengths = array("i")
    for place in range(len(rows)):
        row = rows[place]
        for name, value in row.items():
            if isinstance(value, list):
                ids, ends = tokens.setdefault(name, (array("i"), array("q", [0])))
                ids.extend(value)
                ends.append(len(ids))
            else:
                plain.setdefault(name, []).append(value)
        lengths.append(_length(row))
    columns: dict[str, Any] = {}
    for name, (ids, ends) in tokens.items():
        flat = pyarrow.array(numpy.asarray(ids, dtype=numpy.int32))
        offsets = pyarrow.array(numpy.asarray(ends, dtype=numpy.int64))
        columns[name] = pyarrow.LargeListArray.from_arrays(offsets, flat)
    columns |= {name: pyarrow.array(values) for name, values in plain.items()}
    columns["length"] = pyarrow.array(numpy.asarray(lengths, dtype=numpy.int32))
    return datasets.Dataset(pyarrow.table(columns))


def fetching(rows: StreamedRows) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
    """Row numbers into rows, when they are asked for."""

    def fetch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made = [rows[number] for number in batch["row"]]
        names = dict.fromkeys(name for row in made for name in row)
        # A row without media says nothing of them.
        return {name: [row.get(name, "[]") for row in made] for name in names}

    return fetch


class StreamSampler:
    """The order of streamed rows in an epoch; like `EpochSampler` of (seed, epoch) alone."""

    def __init__(self, rows: StreamedRows, strategy: Strategy, seed: int) -> None:
        self.rows, self.strategy, self.seed = rows, strategy, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return self.rows.order(self.seed, self.epoch, self.strategy != "sequential")


def _table(rows: TokenRows) -> Any:
    """The same table as row by row, made of the flat arrays at once (they may be a mapped file)."""
    import numpy
    import pyarrow

    flat = rows.flat()
    ids = numpy.frombuffer(flat["ids"], dtype=numpy.int32) if rows.tokens else numpy.zeros(0, "i4")
    trained = numpy.frombuffer(flat["trained"], dtype=numpy.uint8) if rows.tokens else ids
    ends = (
        numpy.concatenate([[0], numpy.frombuffer(flat["ends"], dtype=numpy.uint64)])
        if len(rows)
        else numpy.zeros(1)
    )
    offsets = pyarrow.array(ends.astype(numpy.int64))
    labels = numpy.where(trained, ids, numpy.int32(IGNORED))
    return pyarrow.table(
        {
            "input_ids": pyarrow.LargeListArray.from_arrays(offsets, pyarrow.array(ids)),
            "labels": pyarrow.LargeListArray.from_arrays(offsets, pyarrow.array(labels)),
            "length": pyarrow.array(numpy.diff(ends).astype(numpy.int32)),
        }
    )


def _length(row: dict[str, Any]) -> int:
    if "input_ids" in row:
        return len(row["input_ids"])
    answers = [len(v) for name, v in row.items() if name.endswith("_ids") and name != "prompt_ids"]
    return len(row["prompt_ids"]) + max(answers, default=0)


class EpochSampler:
    """The order of rows in an epoch: a function of (seed, epoch) and nothing else.

    So a resumed run finds its place again, whatever else has drawn random numbers since.
    `group_by_length` puts rows of like length into one optimiser step: it shuffles, cuts the order
    into pools of 50 steps, sorts each pool by length, and shuffles the steps. The longest row
    comes in the first step, so that memory runs out at once or not at all.
    """

    def __init__(self, lengths: Sequence[int], strategy: Strategy, seed: int, step: int) -> None:
        """`step` is the number of rows in an optimiser step."""
        self.lengths = lengths
        self.strategy = strategy
        self.seed = seed
        self.step = max(1, step)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch))

    def order(self, epoch: int) -> list[int]:
        """The row numbers of `epoch`, from 0."""
        import torch

        count = len(self.lengths)
        if self.strategy == "sequential":
            return list(range(count))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(count, generator=generator).tolist()
        if self.strategy == "random":
            return order
        return self._grouped(order, generator)

    def _grouped(self, order: list[int], generator: torch.Generator) -> list[int]:
        import torch

        pool = self.step * 50
        steps: list[list[int]] = []
        for begin in range(0, len(order), pool):
            rows = sorted(order[begin : begin + pool], key=lambda i: -self.lengths[i])
            steps += [rows[i : i + self.step] for i in range(0, len(rows), self.step)]
        longest = max(range(len(steps)), key=lambda i: self.lengths[steps[i][0]])
        # A short step may only come last, or the steps behind it would no longer be whole.
        short = len(steps) - 1 if len(steps[-1]) < self.step else None
        middle = [i for i in range(len(steps)) if i not in (longest, short)]
        shuffled = [middle[i] for i in torch.randperm(len(middle), generator=generator).tolist()]
        numbers = [longest] if longest != short else []
        numbers += shuffled
        if short is not None:
            numbers.append(short)
        return [row for number in numbers for row in steps[number]]
