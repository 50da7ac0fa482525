"""Rows that may be alike, found in little memory: banded locality-sensitive hashing of MinHash.

A signature (rensa) is cut into bands, and each band of a row is kept as 32 bits: two rows of
Jaccard likeness s share one of b bands of r hashes with probability 1 - (1 - s^r)^b (Leskovec,
Rajaraman, Ullman, Mining of Massive Datasets, section 3.4), which is 0.9999 at 0.8 here. Rows that
share a band are compared by what they hold, so a chance collision costs only time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

THRESHOLD = 0.8
_BANDS, _HASHES = 32, 4
_SIGNATURE = _BANDS * _HASHES
_COMPARED = 8  # of the candidates of a row: groups are led by their first row, so few are needed
_LED = 4  # rows that a bucket remembers
_NONE = 0xFFFFFFFF
# Odd constants that mix the hashes of a band (the multipliers of xxHash).
_MIX = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63)


class Bands:
    """The bands of up to `rows` rows, 128 bytes each."""

    def __init__(self, rows: int) -> None:
        import numpy

        self._bands: Any = numpy.zeros((_BANDS, rows), dtype=numpy.uint32)
        self._empty = bytearray(rows)
        self._count = 0

    def add(self, shingles: Sequence[set[str]]) -> None:
        """The next rows, by their shingles; a row without any is like no other."""
        import numpy
        from rensa import RMinHash

        made = RMinHash.digest_matrix_from_token_sets(
            [list(one) for one in shingles], num_perm=_SIGNATURE, seed=42
        )
        signatures = numpy.array(made.to_rows(), dtype=numpy.uint64)
        signatures = signatures.reshape(len(shingles), _BANDS, _HASHES)
        mixed = numpy.zeros(signatures.shape[:2], dtype=numpy.uint64)
        for place, factor in enumerate(_MIX):
            mixed = (mixed ^ signatures[:, :, place]) * numpy.uint64(factor)
            mixed ^= mixed >> numpy.uint64(29)
        stop = self._count + len(shingles)
        self._bands[:, self._count : stop] = (mixed >> numpy.uint64(32)).T
        for place, one in enumerate(shingles, self._count):
            self._empty[place] = not one
        self._count = stop

    def alike(
        self,
        shingles: Callable[[int], set[str]],
        check_stop: Callable[[], None] | None = None,
        led_by: int | None = None,
    ) -> Iterator[tuple[int, int, float]]:
        """(row, earlier row, likeness) of each row that is like an earlier one, both from 0.

        Groups are known by their first row; only the first `led_by` rows (None: all) lead one.
        Without it every row that is like another is given, with it only those behind `led_by`.
        `shingles(row)` is asked for rows that may be alike.
        """
        import numpy

        buckets, members, of_row = self._buckets(led_by)
        leaders = numpy.full((buckets, _LED), _NONE, dtype=numpy.uint32)
        held = lru_cache(maxsize=256)(shingles)
        for start, stop in pairwise(of_row):
            row = int(members[0, start])
            if check_stop and not start % 1024:
                check_stop()
            mine = members[1, start:stop]
            may_lead = led_by is None or row < led_by
            led = leaders[mine]
            candidates = numpy.unique(led[led != _NONE])[:_COMPARED]
            found = _most_alike(held(row), candidates, held) if len(candidates) else None
            if found is not None:
                if led_by is None or not may_lead:
                    yield row, *found
            elif may_lead:
                free = mine[led[:, -1] == _NONE]
                slots = (leaders[free] != _NONE).sum(axis=1)
                leaders[free, slots] = row

    def _buckets(self, led_by: int | None) -> tuple[int, Any, Any]:
        """Bands that several rows share, numbered: how many; (row, bucket) pairs in the order of
        the rows; and where each row's pairs begin, the end included."""
        import numpy

        there = numpy.frombuffer(bytes(self._empty[: self._count]), dtype=numpy.uint8) == 0
        rows = numpy.flatnonzero(there).astype(numpy.uint32)
        parts, buckets = [numpy.zeros((2, 0), dtype=numpy.uint32)], 0
        for band in self._bands:
            keys = band[: self._count][there]
            order = numpy.argsort(keys, kind="stable")
            keys = keys[order]
            opens = numpy.flatnonzero(numpy.append(True, keys[1:] != keys[:-1])[: len(keys)])
            sizes = numpy.diff(numpy.append(opens, len(keys)))
            shared = sizes > 1
            if led_by is not None and len(keys):
                # Only where a row that leads none meets one that may: they stand in their order.
                last = rows[order[opens + sizes - 1]]
                shared &= (last >= led_by) & (rows[order[opens]] < led_by)
            numbers = numpy.cumsum(shared, dtype=numpy.int64) - 1 + buckets
            inside = numpy.repeat(shared, sizes)
            named = numpy.repeat(numbers, sizes)[inside].astype(numpy.uint32)
            parts.append(numpy.stack((rows[order[inside]], named)))
            buckets += int(shared.sum())
        pairs = numpy.concatenate(parts, axis=1)
        del parts
        pairs = pairs[:, numpy.argsort(pairs[0], kind="stable")]
        begins = numpy.flatnonzero(numpy.append(True, pairs[0, 1:] != pairs[0, :-1]))
        ends = array("q", begins[: pairs.shape[1]].tolist())
        ends.append(pairs.shape[1])
        return buckets, pairs, ends


def _most_alike(
    mine: set[str], candidates: Any, shingles: Callable[[int], set[str]]
) -> tuple[int, float] | None:
    best: tuple[int, float] | None = None
    for place in candidates.tolist():
        other = shingles(place)
        both = len(mine & other)
        likeness = both / max(1, len(mine) + len(other) - both)
        if likeness >= THRESHOLD and (best is None or likeness > best[1]):
            best = place, likeness
    return best
