"""What a run trains and validates on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.datasets.example import RowProblem

if TYPE_CHECKING:
    from engine.datasets.stage_rows import PartRows, TokenRows
    from engine.datasets.streaming import StreamedRows


@dataclass(frozen=True)
class Prepared:
    """What a run trains and validates on.

    `counts` are the usable rows of each set as they are trained on, `eval_counts` those of each
    set that is measured on, which follow one another in `eval`. `dropped` are the rows left out
    with their reasons, `notes` sentences for the log.
    """

    train: TokenRows | PartRows | StreamedRows
    eval: TokenRows | PartRows
    counts: Mapping[str, int]
    eval_counts: Mapping[str, int]
    dropped: tuple[RowProblem, ...]
    notes: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens of one epoch."""
        return self.train.tokens

    @property
    def longest(self) -> int:
        return max([*self.train.lengths(), *self.eval.lengths()], default=0)
