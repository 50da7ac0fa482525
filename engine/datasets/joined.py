"""Several files of rows as one, and what is known of rows whose index is still being made."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.datasets.files import Rows


class JoinedRows:
    """Several files as one, in order. What is known of one counts once those before are done."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts
        self._ends: list[int] | None = None

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            raise IndexError(index)
        if self._ends is None and self.done and self.fault is None:
            self._ends = list(accumulate(len(part) for part in self._parts))
        if self._ends is not None:
            place = bisect.bisect_right(self._ends, index)
            if place == len(self._parts):
                raise IndexError(index)
            return self._parts[place][index - (self._ends[place - 1] if place else 0)]
        for part in self._parts:
            if index < known_rows(part) or index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)

    @property
    def known(self) -> int:
        count = 0
        for part in self._parts:
            count += known_rows(part)
            if not getattr(part, "done", True):
                break
        return count

    @property
    def done(self) -> bool:
        return all(getattr(part, "done", True) for part in self._parts)

    @property
    def share(self) -> float:
        shares = [getattr(part, "share", 1.0) for part in self._parts]
        return sum(shares) / len(shares)

    @property
    def fault(self) -> BaseException | None:
        faults = (getattr(part, "fault", None) for part in self._parts)
        return next((fault for fault in faults if fault is not None), None)

    def stretch(self, index: int) -> tuple[range, bytes] | None:
        before = 0
        for part in self._parts:
            if index - before < known_rows(part) or index - before < len(part):
                found = stretch_of(part, index - before)
                if found is None:
                    return None
                return range(found[0].start + before, found[0].stop + before), found[1]
            before += len(part)
        return None

    def close(self) -> None:
        for part in self._parts:
            if hasattr(part, "abandon"):
                part.abandon()
        for part in self._parts:
            if hasattr(part, "kept"):
                part.kept()


def stretch_of(rows: Rows, index: int) -> tuple[range, bytes] | None:
    """Rows from `index` on that lie together, and the bytes that hold them; None where no index
    was made of them."""
    found: tuple[range, bytes] | None = None
    if hasattr(rows, "stretch"):
        found = rows.stretch(index)
    return found


def known_rows(rows: Rows) -> int:
    """How many rows can be read at once: all, where no index is being made."""
    known = getattr(rows, "known", None)
    return len(rows) if known is None else int(known)
