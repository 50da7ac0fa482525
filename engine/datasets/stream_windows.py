"""Streamed rows that can only be read on: packed ones, and those of a hub that come as they come.

How many packed rows a stretch of rows makes, or how many rows a hub's file has, is known once they
were read. So such a run counts its rows from 0 to the last that `max_steps` asks for, over as many
passes as that takes: its epoch is the whole run. Beside them it keeps marks, one a stretch of
`buffer_size` rows: from the last one before it a resumed run finds its row again, the same one.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.steps import steps_of
from engine.datasets.encoded import Encoded
from engine.datasets.example import Example, RowProblem
from engine.datasets.far_rows import FarRows
from engine.datasets.mixing import Drawing
from engine.datasets.packing import PackedRows, filling, pack, pack_whole, packs, packs_whole
from engine.datasets.preparation_words import NOTHING_TRAINED
from engine.datasets.stage_rows import PartRows, TokenRows, new_rows
from engine.datasets.streaming import MOST_BAD, StreamedRows
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder
    from engine.datasets.rows import RowIndex

# Rows that become tokens at once where nothing is packed.
_BLOCK = 128
# Windows that are kept after they were read.
_KEPT = 4
# The settings that the rows' places follow from, beside the sets.
_PLACED_BY = (
    *("stage", "cutoff_len", "packing", "neat_packing", "mix_strategy", "interleave_probs"),
    *("buffer_size", "preprocessing_batch_size", "val_size", "template", "train_on_prompt"),
    *("mask_history", "distill_on", "disable_shuffling", "train_sampling_strategy", "seed"),
    *("data_seed", "default_system", "enable_thinking", "preserve_thinking", "tool_format"),
    *("model_name_or_path", "identity_name", "identity_author"),
)


def reads_on(config: RunConfig, sets: Sequence[RowIndex]) -> bool:
    """Whether the run's rows can only be read on."""
    far = any(isinstance(rows.rows, FarRows) for rows in sets)
    return far or packs(config) or packs_whole(config)


class WindowedRows(StreamedRows):
    """The rows of a run in its own order, made window by window.

    `rows[i]` is the i-th row that the run trains on. A window is encoded and packed by itself:
    `preprocessing_batch_size` rows of one stretch, which was shuffled by (seed, pass, stretch).
    Bad rows are left out, told and counted. Asked for in their order, rows cost nothing twice.
    """

    # Looked at from its end, everything before would have to be read.
    one_way = True

    def __init__(
        self, config: RunConfig, encoder: Encoder, sets: Sequence[RowIndex], skip: int = 0
    ) -> None:
        self._take_in(config, encoder, sets)
        self._config = config
        self._skip = skip
        self._count = rows_of_run(config)
        self._seed = config.seed if config.data_seed is None else config.data_seed
        self._shuffled = not (
            config.disable_shuffling or config.train_sampling_strategy == "sequential"
        )
        self._packs = packs(config), packs_whole(config)
        self._window = (
            config.preprocessing_batch_size
            if any(self._packs)
            else min(config.preprocessing_batch_size, _BLOCK)
        )
        self._recent: deque[tuple[int, list[dict[str, Any]]]] = deque(maxlen=_KEPT)
        self._reading: Iterator[tuple[int, list[dict[str, Any]]]] | None = None
        self._next = 0
        self._told = False
        self._file: Path | None = None
        self._marks: list[dict[str, Any]] = [
            {"row": 0, "pass": 0, "stretch": 0, "drawing": None, "places": {}}
        ]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        with self._lock:
            for first, rows in self._recent:
                if first <= index < first + len(rows):
                    return rows[index - first]
            mark = self._marks[bisect.bisect_right(self._marks, index, key=_row_of) - 1]
            if self._reading is None or index < self._next or _row_of(mark) > self._next:
                self._recent.clear()
                self._next = _row_of(mark)
                self._reading = self._read_on(mark)
            while True:
                first, rows = next(self._reading)
                self._next = first + len(rows)
                self._recent.append((first, rows))
                if index < self._next:
                    return rows[index - first]

    def before(self, index: int) -> dict[str, Any]:
        """The row before another; the second one for the first."""
        return self[index - 1 if index else min(1, len(self) - 1)]

    def order(self, seed: int, epoch: int, shuffled: bool) -> Iterator[int]:
        """The run's own order, which is shuffled already."""
        yield from range(len(self))

    def keep_marks(self, file: Path) -> None:
        """Note in `file` where stretches begin, and take over what it holds of the same rows."""
        key = self._key()
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        if lines and lines[0] == key:
            for line in lines[1:]:
                try:
                    self._mark(json.loads(line))
                except ValueError:
                    break  # the last line of a run that was cut off
        texts = [key, *(json.dumps(mark) for mark in self._marks[1:])]
        file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        self._file = file

    def _mark(self, mark: dict[str, Any]) -> None:
        if mark["row"] <= self._marks[-1]["row"]:
            return
        self._marks.append(mark)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(mark) + "\n")

    def _key(self) -> str:
        told = [[rows.name, rows.info.source, str(rows.info.split)] for rows in self._sets]
        values = [str(getattr(self._config, name)) for name in _PLACED_BY]
        return hashlib.blake2b(json.dumps([told, values]).encode(), digest_size=16).hexdigest()

    # -- reading -----------------------------------------------------------------------------

    def _read_on(self, mark: dict[str, Any]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Windows from the stretch on that begins at `mark`, with the number of their first row."""
        number, barren = mark["row"], 0
        while True:
            drawing = self._drawing(mark)
            pairs = iter(drawing)
            if mark["drawing"] is None:
                next(islice(pairs, self._skip, self._skip), None)
            seen = mark["stretch"] > 0
            for stretch in count(mark["stretch"]):
                rows = [(s, self._sets[s].example(r)) for s, r in islice(pairs, self.buffer)]
                if not rows:
                    break
                seen = True
                if self._shuffled:
                    random.Random(f"{self._seed} {mark['pass']} {stretch}").shuffle(rows)
                for start in range(0, len(rows), self._window):
                    made = self._made(rows[start : start + self._window])
                    barren = 0 if made else barren + self._window
                    if barren >= MOST_BAD:
                        raise self._nothing(f"{barren:,} rows one behind the other can't be used.")
                    if made:
                        yield number, made
                        number += len(made)
                self._mark(
                    {
                        "row": number,
                        "pass": mark["pass"],
                        "stretch": stretch + 1,
                        "drawing": drawing.state(),
                        "places": self._places(drawing),
                    }
                )
            if not seen or not number:
                raise self._nothing("No row of the sets is left to train on.")
            following = {"pass": mark["pass"] + 1, "stretch": 0, "drawing": None, "places": {}}
            mark = {"row": number, **following}

    def _drawing(self, mark: dict[str, Any]) -> Drawing:
        config = self._config
        for name, place in mark["places"].items():
            rows = self._sets[int(name)].rows
            assert isinstance(rows, FarRows)
            rows.go_to(place)
        has = [rows.has for rows in self._sets]
        shares = [float(share) for share in (config.interleave_probs or "").split(",") if share]
        return Drawing(has, config.mix_strategy, shares or None, config.seed, mark["drawing"])

    def _places(self, drawing: Drawing) -> dict[str, Any]:
        found = {}
        for place, (rows, taken) in enumerate(zip(self._sets, drawing.taken, strict=True)):
            if isinstance(rows.rows, FarRows) and taken:
                where = rows.rows.place(taken)
                if where is not None:
                    found[str(place)] = where
        return found

    def _made(self, rows: Sequence[tuple[int, Example | RowProblem]]) -> list[dict[str, Any]]:
        for place, example in rows:
            self._check_reads(self._sets[place].name, [example])
        names = [self._sets[place].name for place, _ in rows]
        examples = [example for _, example in rows]
        found = encoded_rows(names, examples, self._encode, new_rows(self._form), self._leave_out)
        if isinstance(found, TokenRows) and len(found):
            if self._packs[0]:
                found = pack(found, self.cutoff)
            elif self._packs[1]:
                found = pack_whole(found, self.cutoff, len(found))
                self._tell_filling(found)
        return [found[place] for place in range(len(found))]

    def _tell_filling(self, rows: PackedRows) -> None:
        if self.tell and not self._told:
            self._told = True
            self.tell(f"The first rows' {filling(rows, self.cutoff)}")

    def _nothing(self, what: str) -> BadInput:
        return BadInput(
            Problem(
                what,
                f"dataset {self._sets[0].name}",
                "Look at the set: finetui datasets check lists what is wrong.",
                "dataset",
            )
        )


def encoded_rows(
    names: Sequence[str],
    examples: Sequence[Example | RowProblem],
    encode: Callable[[Sequence[Example]], Sequence[Any]],
    into: TokenRows | PartRows,
    leave_out: Callable[[RowProblem], None],
) -> TokenRows | PartRows:
    """The rows as tokens, appended to `into`; those that can't be used go to `leave_out`."""
    made = iter(encode([one for one in examples if isinstance(one, Example)]))
    for name, example in zip(names, examples, strict=True):
        row: Any = next(made) if isinstance(example, Example) else example
        if isinstance(row, Encoded) and not any(row.trained):
            assert isinstance(example, Example)
            row = RowProblem(name, example.source_row, NOTHING_TRAINED)
        if isinstance(row, RowProblem):
            leave_out(RowProblem(name, row.row, row.reason))
        else:
            into.append(row)
    return into


def rows_of_run(config: RunConfig) -> int:
    """The rows that a run of `max_steps` takes."""
    return steps_of(1, config).effective_batch * config.max_steps


def _row_of(mark: dict[str, Any]) -> int:
    return int(mark["row"])
