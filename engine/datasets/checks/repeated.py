"""Rows in which a JSON object names a key twice: only the last of its values is read."""

from __future__ import annotations

from engine.datasets.checks.facts import Finding
from engine.datasets.rows import MOST_REPEATED, RowIndex

_KEPT_ROWS = 1000


def repeated_findings(rows: RowIndex, checked: int) -> tuple[Finding, ...]:
    """What the first `checked` rows, converted before, say twice."""
    found = {row: keys for row, keys in sorted(rows.repeated.items()) if row <= checked}
    if not found:
        return ()
    first, keys = next(iter(found.items()))
    named = ", ".join(repr(key) for key in keys[:3])
    count = "1 row" if len(found) == 1 else f"{len(found):,} rows"
    if len(found) >= MOST_REPEATED:
        count += " or more"
    return (
        Finding(
            "repeated key",
            "warning",
            len(found),
            tuple(found)[:_KEPT_ROWS],
            f"a key stands twice in {count}",
            f"A key stands twice in one object of {count}, first in row {first:,} ({named}): "
            "only its last value is read.",
        ),
    )
