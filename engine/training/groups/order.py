"""The order of prompts in a run that samples several answers to each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle, islice

from engine.training.dataset import EpochSampler, StreamSampler


class GroupSampler:
    """Row numbers as TRL's group trainers take them: one round of sampling after the other.

    A round is `prompts` rows, each repeated `answers` times; the round itself comes `repeats`
    times, as the trainer takes it once for each micro-batch that it is cut into. The order of the
    rows is `order`'s, a function of seed and epoch. A last round that is not full is filled with
    the first rows of the epoch, so that every prompt is asked (TRL's own sampler leaves the rest
    out, and all of a set that is smaller than a round).
    """

    def __init__(
        self, order: EpochSampler | StreamSampler, prompts: int, answers: int, repeats: int
    ) -> None:
        self._order = order
        self._prompts = prompts
        self._answers = answers
        self._repeats = repeats

    def set_epoch(self, epoch: int) -> None:
        self._order.set_epoch(epoch)

    @property
    def rounds(self) -> int:
        """Rounds of sampling in an epoch."""
        return -(-len(self._order) // self._prompts)

    def __len__(self) -> int:
        return self.rounds * self._prompts * self._answers * self._repeats

    def __iter__(self) -> Iterator[int]:
        rows = iter(self._order)
        begin = list(islice(rows, self._prompts))
        if not begin:
            return
        # Taken one by one: a stream's order is never held whole.
        rows = chain(begin, rows)
        for _ in range(self.rounds):
            asked = list(islice(rows, self._prompts))
            asked += islice(cycle(begin), self._prompts - len(asked))
            for _ in range(self._repeats):
                for row in asked:
                    yield from [row] * self._answers
