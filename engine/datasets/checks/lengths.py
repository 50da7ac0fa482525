"""Token lengths of a set: percentiles, a histogram, and what they advise for cutoff and packing."""

from __future__ import annotations

from collections.abc import Sequence

from engine.datasets.packing import best_fit

BINS = 20
PERCENTS = (5, 25, 50, 75, 90, 95, 99, 100)
_AT_ONCE, _PACKED = 1000, 100_000  # rows packed together, and rows that are packed for a look
# The cutoffs that are offered: people choose powers of two, and halfway between them.
_USUAL = tuple(sorted({base << n for n in range(15) for base in (64, 96)}))


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile of sorted numbers; 0 of none."""
    if not len(ordered):
        return 0
    return int(ordered[max(0, -(-len(ordered) * percent // 100) - 1)])


def histogram(ordered: Sequence[int]) -> tuple[int, ...]:
    """Counts in 20 equal bins from 0 to the largest of sorted numbers."""
    bins = [0] * BINS
    if len(ordered):
        top = max(int(ordered[-1]), 1)
        for value in ordered:
            bins[min(int(value) * BINS // top, BINS - 1)] += 1
    return tuple(bins)


def usual_cutoff(tokens: int) -> int:
    """The smallest usual cutoff that holds `tokens`."""
    return next((one for one in _USUAL if one >= tokens), tokens)


def cutoff_advice(ordered: Sequence[int], cutoff: int | None, lost: int) -> str:
    """A sentence on the cutoff, or an empty text where the one that is set suits."""
    if not len(ordered) or cutoff is None:
        return ""
    longest = int(ordered[-1])
    if longest <= cutoff:
        enough = usual_cutoff(longest)
        if enough * 2 > cutoff:
            return ""
        return (
            f"cutoff_len {enough:,} is enough: the longest row has {longest:,} tokens "
            f"(now {cutoff:,})."
        )
    if not lost:
        return ""  # texts that are packed lose nothing
    whole = usual_cutoff(longest)
    most = usual_cutoff(percentile(ordered, 99))
    words = f"cutoff_len {whole:,} would cut no row"
    if cutoff < most < whole:
        over = sum(value > most for value in ordered[-(len(ordered) // 50 + 1) :])
        words = f"cutoff_len {most:,} would cut {over:,} rows, {words[11:]}"
    return f"{words}; {cutoff:,} cuts off {lost:,} tokens."


def padding_share(ordered: Sequence[int], batch: int) -> float:
    """The part of a batch of `batch` random rows that is padding, as expected from their lengths.

    The expected longest of b draws is the sum of the sorted lengths weighted by ((i/n)^b -
    ((i-1)/n)^b): the distribution of a maximum.
    """
    count = len(ordered)
    total = sum(ordered)
    if not total or batch < 2:
        return 0.0
    longest, before = 0.0, 0.0
    for place, value in enumerate(ordered, 1):
        share = (place / count) ** batch
        longest += int(value) * (share - before)
        before = share
    return 1 - (total / count) / longest


def packing_advice(lengths: Sequence[int], cutoff: int | None, batch: int, texts: bool) -> str:
    """What packing would save; an empty text where rows nearly fill the cutoff, or one row.

    `lengths` are in the order of the rows, as conversations are packed a thousand at a time;
    `texts` are cut anywhere.
    """
    if cutoff is None or len(lengths) < 2:
        return ""
    kept = [min(int(value), cutoff) for value in lengths]
    total = sum(kept)
    packed, about = -(-total // cutoff), ""
    if not texts:
        looked = kept[:_PACKED]
        packed = sum(
            len(best_fit(range(begin, min(begin + _AT_ONCE, len(looked))), looked, cutoff))
            for begin in range(0, len(looked), _AT_ONCE)
        )
        if len(looked) < len(kept):
            packed, about = round(packed * len(kept) / len(looked)), "about "
    if packed * 2 > len(kept):
        return ""
    words = (
        f"Packed, the {len(kept):,} rows fill {about}{packed:,} of {cutoff:,} tokens by "
        f"{total / (packed * cutoff):.0%}"
    )
    wasted = padding_share(sorted(kept), batch)
    if wasted >= 0.05:
        return f"{words}; unpacked, batches of {batch} random rows are {wasted:.0%} padding."
    return f"{words}; unpacked there is hardly any padding."
