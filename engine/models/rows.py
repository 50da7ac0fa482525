"""What the memory forecast has to know of the rows: how long, how much of them is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# Share of a row's tokens that are trained on where only answers are, and nothing else is known.
ANSWER_SHARE = 0.6
# Rows that are looked at for what they share.
_LOOKED_AT = 64
# And where rows can only be read on.
_LOOKED_AT_ON_THE_WAY = 16


@dataclass(frozen=True)
class RowFacts:
    """The rows of a run, as the forecast counts them.

    `longest` is the most tokens of a row (of an answer with its prompt, in pairs), `trained` the
    share of a row's tokens that the loss counts, `shared` the leading tokens that all rows have in
    common and nobody trains at. `known` is False where `longest` is only the limit cutoff_len.
    Where rows are packed, `each` of the set's rows lie in one, whose positions are filled to the
    share `filled` (0: nothing is packed).
    """

    longest: int
    trained: float = ANSWER_SHARE
    shared: int = 0
    known: bool = True
    each: float = 1.0
    filled: float = 0.0

    def packed(self, rows: int) -> int:
        """About how many rows of the run `rows` rows of its sets make."""
        return max(1, round(rows / self.each)) if rows else 0


class Rows(Protocol):
    """Encoded rows, as the datasets give them to a stage."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def facts_of_rows(rows: Rows, longest: int) -> RowFacts:
    """The facts of encoded rows whose longest has `longest` tokens.

    The trained share is that of the rows with most trained tokens among the first and last ones,
    as a micro-batch of them is what decides.
    """
    places = range(len(rows))
    if getattr(rows, "one_way", False):
        places = places[:_LOOKED_AT_ON_THE_WAY]
    if len(rows) > 2 * _LOOKED_AT:
        places = [*places[:_LOOKED_AT], *places[-_LOOKED_AT:]]  # type: ignore[assignment]
    looked_at = [rows[place] for place in places]
    plain = [row for row in looked_at if "input_ids" in row and "labels" in row]
    if not plain:
        return RowFacts(longest)
    tokens = sum(len(row["input_ids"]) for row in plain)
    trained = sum(sum(label >= 0 for label in row["labels"]) for row in plain)
    return RowFacts(longest, trained / max(tokens, 1), _shared(plain))


def _shared(rows: Sequence[Mapping[str, Any]]) -> int:
    """Leading tokens that all rows have in common, before the first that is trained."""
    if len(rows) < 2:
        return 0
    first = rows[0]["input_ids"]
    most = min(len(row["input_ids"]) for row in rows) - 1
    for place in range(max(most, 0)):
        if any(row["input_ids"][place] != first[place] for row in rows):
            return place
        if any(label >= 0 for row in rows for label in row["labels"][place + 1 : place + 2]):
            return place
    return max(most, 0)
