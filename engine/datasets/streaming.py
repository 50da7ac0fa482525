"""Rows that become tokens while the run trains: sets larger than memory, begun at once.

Any row is found by its number (`RowIndex`), so a streamed set is one whose rows are encoded when
they are asked for. Their order needs no list of all rows: it is shuffled within one stretch of
`buffer_size` rows after the other, by (seed, epoch, stretch) alone, so that a resumed run goes on
at the same row without reading those before.
"""

from __future__ import annotations

import bisect
import random
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from engine.datasets.encoded import Encoded
from engine.datasets.example import Example, RowProblem
from engine.datasets.mixing import mixed_order
from engine.datasets.parallel import encoding
from engine.datasets.preparation_words import NOTHING_TRAINED, check_reads
from engine.datasets.stage_rows import form_of, new_rows
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder
    from engine.datasets.rows import RowIndex

# Bad rows told one by one; the others are counted.
_TOLD = 10
# Bad rows one behind the other after which a set is given up.
MOST_BAD = 10_000


class StreamedRows:
    """The rows of `sets`, joined as `mix_strategy` says, without the first `skip` of them.

    `rows[i]` is row i as tokens. One that can't be used is left out: the next that can stands in
    for it. Each is counted once, in `dropped`, and told by `tell`; with bad_rows: stop it raises
    BadInput. Thread-safe.
    """

    has_media = False
    cut_rows = cut_tokens = 0

    def __init__(
        self, config: RunConfig, encoder: Encoder, sets: Sequence[RowIndex], skip: int = 0
    ) -> None:
        self._take_in(config, encoder, sets)
        self._ends = list(accumulate(len(rows) for rows in sets))
        self._order: array[int] | None = None
        if config.mix_strategy != "concat" and len(sets) > 1:
            shares = [float(share) for share in (config.interleave_probs or "").split(",") if share]
            sizes = [len(rows) for rows in sets]
            self._order = array(
                "q", mixed_order(sizes, config.mix_strategy, shares or None, config.seed)
            )
        whole = self._ends[-1] if self._order is None and self._ends else len(self._order or ())
        self._skip = min(skip, whole)
        self._count = whole - self._skip

    def _take_in(self, config: RunConfig, encoder: Encoder, sets: Sequence[RowIndex]) -> None:
        self.cutoff = config.cutoff_len
        self.buffer = config.buffer_size
        self.dropped: Counter[str] = Counter()
        self.tell: Callable[[str], None] | None = None
        self._sets = sets
        self._stops = config.bad_rows == "stop"
        self._form = form_of(config.stage, config.distill_on == "samples")
        self._encode = encoding(encoder, self._form, config.stage)
        self._encoder, self._stage = encoder, config.stage
        self._bad: set[tuple[str, int]] = set()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        for further in range(min(MOST_BAD, len(self))):
            found = self._row((index + further) % len(self))
            if found is not None:
                return found
        raise BadInput(
            Problem(
                f"{min(MOST_BAD, len(self)):,} rows one behind the other can't be used.",
                f"dataset {self._place(index)[0].name}",
                "Look at the set: finetui datasets check lists what is wrong.",
                "dataset",
            )
        )

    def before(self, index: int) -> dict[str, Any]:
        """The row before another; the last one for the first."""
        return self[index - 1]

    @property
    def tokens(self) -> int:
        """Not known before all rows were encoded: at most this many."""
        return len(self) * self.cutoff

    def lengths(self) -> list[int]:
        """The longest that a row can be; each is known when it is encoded only."""
        return [self.cutoff] if len(self) else []

    def order(self, seed: int, epoch: int, shuffled: bool) -> Iterator[int]:
        """The row numbers of an epoch, from 0, made as they are asked for."""
        for start in range(0, len(self), self.buffer):
            stretch = list(range(start, min(start + self.buffer, len(self))))
            if shuffled:
                random.Random(f"{seed} {epoch} {start}").shuffle(stretch)
            yield from stretch

    def _place(self, index: int) -> tuple[RowIndex, int]:
        index += self._skip
        if self._order is not None:
            index = self._order[index]
        place = bisect.bisect_right(self._ends, index)
        return self._sets[place], index - (self._ends[place - 1] if place else 0)

    def _row(self, index: int) -> dict[str, Any] | None:
        rows, number = self._place(index)
        example = rows.example(number)
        row: Any = example
        if not isinstance(example, RowProblem):
            self._check_reads(rows.name, [example])
            (row,) = self._encode([example])
        if isinstance(row, Encoded) and not any(row.trained):
            row = RowProblem(rows.name, number + 1, NOTHING_TRAINED)
        if isinstance(row, RowProblem):
            self._leave_out(RowProblem(rows.name, row.row, row.reason))
            return None
        made = new_rows(self._form)
        made.append(row)
        return made[0]

    def _check_reads(self, name: str, examples: Sequence[Example | RowProblem]) -> None:
        """Raise BadInput for media of a kind that the model doesn't read."""
        found = [(name, one) for one in examples if isinstance(one, Example) and one.media]
        if found:
            check_reads(self._encoder, self._stage, found)

    def _leave_out(self, problem: RowProblem) -> None:
        if self._stops:
            raise BadInput(
                Problem(
                    f"A row can't be used, and bad_rows is stop. Row {problem.row:,} of "
                    f"{problem.dataset}: {problem.reason.rstrip('.')}.",
                    f"dataset {problem.dataset}, row {problem.row:,}",
                    "Mend it (finetui datasets check lists them all), or set bad_rows: skip.",
                    "bad_rows",
                )
            )
        with self._lock:
            if (problem.dataset, problem.row) in self._bad:
                return
            if len(self._bad) < 1_000_000:
                self._bad.add((problem.dataset, problem.row))
            self.dropped[problem.dataset] += 1
            told = self.dropped.total() <= _TOLD
        if told and self.tell:
            self.tell(f"Left out: {problem}.")
