"""A walk through a set's rows on a thread of its own, that can be watched and given up."""

from __future__ import annotations

import bisect
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from engine.datasets.browse.wanted import Wanted

if TYPE_CHECKING:
    from engine.datasets.rows import RowIndex


class RowWalk:
    """The rows that are wanted, by their places, as they are found.

    `numbers` are the rows to go through (None: all, in the file's order), and a place is one in
    that order. The walk begins at `start`, goes to the end, and then from the beginning. `told` is
    called on the walk's thread at the first find and at the end. `fault` is why it ended early.
    """

    def __init__(
        self,
        rows: RowIndex,
        wanted: Wanted,
        start: int = 0,
        numbers: Sequence[int] | None = None,
        told: Callable[[], None] | None = None,
    ) -> None:
        self.rows = rows
        self.start = start
        self.fault: BaseException | None = None
        self.done = False
        self._wanted = wanted
        self._numbers = numbers
        self._told = told
        self._behind = array("Q")  # places from `start` on, then those before it
        self._before = array("Q")
        self._passed = 0
        self._round = False  # whether the walk has begun again at the beginning
        self._cancelled = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._go, name="finetui-walk", daemon=True)
        self._thread.start()

    @property
    def found(self) -> int:
        """How many wanted rows were found so far."""
        return len(self._behind) + len(self._before)

    @property
    def share(self) -> float:
        """How much has been gone through, 0 to 1."""
        if self.done:
            return 1.0
        total = len(self._numbers) if self._numbers is not None else self.rows.known
        part = self._passed / total if total else 0.0
        return min(1.0, part * (self.rows.share if self._numbers is None else 1.0))

    def places(self) -> Sequence[int]:
        """The wanted places found so far, ascending. They may grow while they are read."""
        return self._before + self._behind if self._before else self._behind

    def next_from(self, place: int) -> int | None:
        """The first wanted place behind `place`, round the end; None where there is none, or it
        is not known yet (`settled_from`)."""
        if place < self.start:
            at = bisect.bisect_right(self._before, place)
            if at < len(self._before):
                return self._before[at]
            if not self.done:
                return None
        at = bisect.bisect_right(self._behind, place)
        if at < len(self._behind):
            return self._behind[at]
        if self._before:
            return self._before[0]
        return self._behind[0] if self.done and self._behind else None

    def settled_from(self, place: int) -> bool:
        """Whether what `next_from` says will stay: going on would not change it."""
        return self.done or self.next_from(place) is not None

    def cancel(self) -> None:
        """Give up; what was found stays."""
        self._cancelled.set()
        if self._wanted.close is not None:
            self._wanted.close()

    def wait(self, seconds: float) -> None:
        """Until the first find, or the end, or so many seconds."""
        self._news.wait(seconds)

    def join(self, seconds: float | None = None) -> None:
        self._thread.join(seconds)

    # The thread

    def _go(self) -> None:
        try:
            for place in self._candidates():
                if self._wanted.test(self.rows, self._number(place)):
                    (self._before if self._round else self._behind).append(place)
                    if self.found == 1:
                        self._tell()
        except BaseException as error:  # told by the pane that asked, whatever it is
            self.fault = error
        self._round = True
        self.done = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        if self._told is not None:
            self._told()

    def _number(self, place: int) -> int:
        return place if self._numbers is None else self._numbers[place]

    def _candidates(self) -> Iterator[int]:
        """Places that may be wanted, in the walk's order."""
        yield from self._from_to(self.start, None)
        if not self._cancelled.is_set():
            self._round = True
            yield from self._from_to(0, self.start)

    def _from_to(self, first: int, behind: int | None) -> Iterator[int]:
        place, skim = first, self._wanted.skim
        while (behind is None or place < behind) and not self._cancelled.is_set():
            if self._ended(place):
                return
            stretch = None
            if skim is not None and self._numbers is None:
                stretch = self.rows.stretch(place)
            if stretch is None:
                yield place
                place += 1
                self._passed += 1
                continue
            rows, raw = stretch
            last = rows.stop if behind is None else min(rows.stop, behind)
            if skim is not None and skim(raw):
                for one in range(place, last):
                    if self._cancelled.is_set():
                        return
                    yield one
            self._passed += last - place
            place = last

    def _ended(self, place: int) -> bool:
        if self._numbers is not None:
            return place >= len(self._numbers)
        return not self.rows.has(place)
