"""Several sets as one: in which order their rows are taken, and how often.

`concat` puts one set behind the other. The others take rows from the sets in turn, or with
`interleave_probs` from a set drawn by its share (the strategies of `datasets.interleave_datasets`):
`interleave_under` ends with the first set that runs out, `interleave_over` begins sets anew until
each has run out once, `interleave_once` takes each row once and goes on with the sets that are
left.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any


def mixed_order(
    sizes: Sequence[int], strategy: str, shares: Sequence[float] | None, seed: int
) -> list[int]:
    """Row numbers of all sets, counted through one behind the other, in the order of training.

    `sizes` are the rows of each set, `shares` its chance to be drawn; None takes them in turn.
    The order depends on nothing else. Sets without rows are left out.
    """
    if strategy == "concat":
        return list(range(sum(sizes)))
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    there = [place for place, size in enumerate(sizes) if size]
    left = {place for place in there if not shares or shares[place] > 0}
    running = set(left)  # the sets that have not run out yet
    taken = [0] * len(sizes)
    order: list[int] = []
    draws = _draws(there, shares, seed)
    while running:
        place = next(draws)
        if place not in left:
            continue
        order.append(starts[place] + taken[place] % sizes[place])
        taken[place] += 1
        if taken[place] % sizes[place]:
            continue
        running.discard(place)
        if strategy == "interleave_under":
            break
        if strategy == "interleave_once":
            left.discard(place)
    return order


class Drawing:
    """The same order, drawn as it goes on, where nobody knows how many rows a set has.

    `has[place](row)` tells whether a set has a row, `after` continues where `state()` stood.
    """

    def __init__(
        self,
        has: Sequence[Callable[[int], bool]],
        strategy: str,
        shares: Sequence[float] | None,
        seed: int,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        self._has = has
        self._strategy = strategy
        self._shares = shares = None if strategy == "concat" else shares
        self._seed = seed
        if after is not None:
            self._there, self.taken = list(after["there"]), list(after["taken"])
            self._left, self._running = set(after["left"]), set(after["running"])
            self._drawn = int(after["drawn"])
            return
        self._there = [place for place, rows in enumerate(has) if rows(0)]
        self._left = {place for place in self._there if not shares or shares[place] > 0}
        self._running = set(self._left)  # the sets that have not run out yet
        self.taken = [0] * len(has)  # the row of each set that comes next
        self._drawn = 0

    def state(self) -> dict[str, Any]:
        """What was drawn so far, for `after`."""
        return {
            "there": self._there,
            "taken": list(self.taken),
            "left": sorted(self._left),
            "running": sorted(self._running),
            "drawn": self._drawn,
        }

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(set, row) pairs."""
        draws: Iterator[int] | None = None
        if self._strategy != "concat":
            draws = islice(_draws(self._there, self._shares, self._seed), self._drawn, None)
        while self._running:
            place = min(self._left) if draws is None else next(draws)
            self._drawn += 1
            if place not in self._left:
                continue
            row = self.taken[place]
            self.taken[place] = row + 1
            # A set has run out with its last row, not with the draw after it.
            if not self._has[place](row + 1):
                self._run_out(place)
            yield place, row

    def _run_out(self, place: int) -> None:
        self.taken[place] = 0
        self._running.discard(place)
        if self._strategy == "interleave_under":
            self._running.clear()
        if self._strategy in ("concat", "interleave_once"):
            self._left.discard(place)


def rows_used(sizes: Sequence[int], order: Sequence[int]) -> list[int]:
    """How many rows of each set stand in an order."""
    bounds = list(accumulate(sizes))
    used = [0] * len(sizes)
    for row in order:
        used[bisect.bisect_right(bounds, row)] += 1
    return used


def mixing_note(
    names: Sequence[str], sizes: Sequence[int], used: Sequence[int], strategy: str
) -> str:
    """How many rows of each set are trained on, in words."""
    told = [
        f"{name} {count:,}" + (f" (it has {size:,})" if count != size else "")
        for name, size, count in zip(names, sizes, used, strict=True)
    ]
    return f"Rows of each set ({strategy}): {', '.join(told)}."


def _draws(there: Sequence[int], shares: Sequence[float] | None, seed: int) -> Iterator[int]:
    """Sets in turn, or drawn by their shares, without end."""
    if not shares:
        while True:
            yield from there
    source = random.Random(seed)
    weights = [shares[place] for place in there]
    while True:
        yield from source.choices(there, weights, k=1024)
