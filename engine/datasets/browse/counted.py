"""Filters that ask for tokens: how many a row has, how many of them are trained, counted once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from engine.datasets.browse.lengths import TokenLengths
from engine.datasets.encoded import Encoded


class TrainedTokens(TokenLengths):
    """Trained tokens of each row, after the cutoff; UNUSABLE for a row that can't be used."""

    UNUSABLE = 2**32 - 1

    @staticmethod
    def measure(row: Encoded) -> int:
        return sum(row.trained)


class CountedRows:
    """Counts of a set's rows, begun when a row's is first asked for; to ask is to wait until that
    row is counted. `cutoff` is None where nothing is cut."""

    def __init__(
        self,
        tokens: Callable[[], TokenLengths],
        trained: Callable[[], TrainedTokens],
        cutoff: int | None,
    ) -> None:
        self.cutoff = cutoff
        self._begin_tokens = tokens
        self._begin_trained = trained
        self._begun: list[TokenLengths] = []
        self._cancelled = False

    def tokens(self, index: int) -> int:
        """Before the cutoff; 0 for a row that can't be used."""
        return self._tokens.at(index)

    def trained(self, index: int) -> int:
        """After the cutoff; -1 for a row that can't be used."""
        found = self._trained.at(index)
        return -1 if found == TrainedTokens.UNUSABLE else found

    def cancel(self) -> None:
        """Give up; what was counted is kept."""
        self._cancelled = True
        for one in self._begun:
            one.cancel()

    @cached_property
    def _tokens(self) -> TokenLengths:
        return self._begin(self._begin_tokens)

    @cached_property
    def _trained(self) -> TokenLengths:
        return self._begin(self._begin_trained)

    def _begin(self, make: Callable[[], TokenLengths]) -> TokenLengths:
        lengths = make()
        self._begun.append(lengths)
        if self._cancelled:
            lengths.cancel()
        return lengths
