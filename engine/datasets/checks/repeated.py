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
    count, named = len(found), ", ".join(repr(key) for key in keys[:3])
    short = f"a key stands twice in {count:,} rows"
    words = (
        f"{count:,} rows have a key that stands twice, first row {first:,} ({named}): only its "
        "last value is read."
    )
    if count == 1:
        short = f"a key stands twice in row {first:,}"
        words = f"Row {first:,} has a key that stands twice ({named}): only its last value is read."
    elif count >= MOST_REPEATED:
        short = f"a key stands twice in {count:,} rows or more"
        words = (
            f"{count:,} rows or more have a key that stands twice, first row {first:,} ({named}): "
            "only its last value is read."
        )
    rows_told = tuple(found)[:_KEPT_ROWS]
    return (Finding("repeated key", "warning", count, rows_told, short, words),)
