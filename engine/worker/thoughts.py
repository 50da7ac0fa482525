"""Does your data hold thoughts? What a set's rows say, and one of them trained either way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.config import RunConfig
from engine.problem import BadInput
from engine.worker.questions import _encoder, _rows_of

if TYPE_CHECKING:
    from engine.datasets import TokenPiece

# So many rows answer the question; a set is seldom mixed behind them.
LOOKED_AT = 200


@dataclass(frozen=True)
class ThoughtView:
    """`share` of the answers in the first `rows` rows that hold thoughts, from 0 to 1.

    `handled` tells whether the template in use has thoughts, so that `enable_thinking` matters;
    `on` and `off` are the row's tokens under either value. `problem` says why there are none.
    """

    dataset: str
    index: int
    share: float
    rows: int
    handled: bool = False
    on: tuple[TokenPiece, ...] = ()
    off: tuple[TokenPiece, ...] = ()
    problem: str = ""

    @property
    def advised(self) -> bool | None:
        """The value of `enable_thinking` that these rows ask for: on where they hold thoughts, off
        where none does; None where the template has none either way."""
        return self.share > 0 if self.handled else None


def thought_view(name: str, index: int, config: RunConfig) -> ThoughtView:
    """The thoughts of a set, and its row `index` (from 0) with thinking and without.

    Needs no torch. Raises BadInput where the set can't be read.
    """
    from engine import models
    from engine.datasets import Example
    from engine.datasets.thoughts import thought_renderings, thoughts_in

    rows = _rows_of(name, config)
    looked = min(LOOKED_AT, len(rows))
    examples = (rows.example(i) for i in range(looked))
    share = thoughts_in(one for one in examples if isinstance(one, Example))
    row = rows.example(index) if index < len(rows) else None
    if not isinstance(row, Example):
        reason = "There is no such row." if row is None else row.reason
        return ThoughtView(name, index, share, looked, problem=reason)
    model = config.model_name_or_path or ""
    if model == "demo" and not models.demo_ready():
        reason = "The tokens are shown once the demo model has been fetched (the first run does)."
        return ThoughtView(name, index, share, looked, problem=reason)
    try:
        encoder = _encoder(models.resolve(model).path, config)
        on, off = thought_renderings(row, encoder)
    except BadInput as error:
        return ThoughtView(name, index, share, looked, problem=str(error.problem))
    return ThoughtView(name, index, share, looked, encoder.chat.has_thoughts, tuple(on), tuple(off))
