"""Columns of the file against those that the registry lists: what would be lost in silence."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from engine.datasets.checks.facts import Finding
from engine.datasets.dataset_info import Columns, DatasetInfo
from engine.datasets.rows import RowIndex
from engine.problem import BadInput

_LOOKED_AT = 100
# Our name, and the names that files give such a column.
_TRAPS = {
    "query": ("input",),
    "system": ("system",),
    "tools": ("tools",),
    "history": ("history",),
    "images": ("images", "image"),
    "videos": ("videos", "video"),
    "audios": ("audios", "audio"),
}
_ALPACA_ONLY = ("query", "history")


def column_findings(rows: RowIndex) -> tuple[Finding, ...]:
    """Columns that hold something and are not listed, and listed ones that no row has."""
    holds: Counter[str] = Counter()
    seen: set[str] = set()
    looked = 0
    for index in islice(range(len(rows)), _LOOKED_AT):
        try:
            row = rows.raw(index)
        except BadInput:
            continue
        looked += 1
        seen.update(map(str, row))
        holds.update(str(name) for name, value in row.items() if value)
    if not looked:
        return ()
    columns: Columns = rows.info.columns
    listed = {value for name in columns.__dataclass_fields__ if (value := getattr(columns, name))}
    found = []
    if rows.info.shape != "text":
        for ours, names in _TRAPS.items():
            if ours in _ALPACA_ONLY and rows.info.formatting != "alpaca":
                continue
            for name in names:
                if getattr(columns, ours) is None and holds[name] and name not in listed:
                    found.append(_left_out(name, ours))
    one = next(iter(seen)) if len(seen) == 1 else ""
    unparted = any(sign in one for sign in ";\t")
    if unparted:
        found.append(
            Finding(
                "one column",
                "warning",
                1,
                (),
                f"its one column is {one!r}",
                f"the file has one column, {one!r}: commas must stand between columns, not "
                "semicolons or tabs",
            )
        )
    if not rows.info.said_columns and not unparted and rows.info.shape != "text":
        found += _defaults_missing(rows.info, seen)
    if rows.info.said_columns:
        for ours in columns.__dataclass_fields__:
            name = getattr(columns, ours)
            if name and name not in seen:
                found.append(
                    Finding(
                        "missing column",
                        "warning",
                        1,
                        (),
                        f"no row has a column {name!r}",
                        f"the registry names the column {name!r} for {ours}, and none of the "
                        f"first {looked:,} rows has it",
                    )
                )
    return tuple(found)


def _defaults_missing(info: DatasetInfo, seen: set[str]) -> list[Finding]:
    """Columns that an entry without `columns` reads, and the file has none of that name."""
    columns = info.columns
    if info.formatting == "alpaca":
        needed = [columns.prompt, columns.response]
        if info.ranking:
            needed = [columns.prompt, columns.chosen, columns.rejected]
    else:
        needed = [columns.messages]
    has = ", ".join(sorted(seen)[:8])
    return [
        Finding(
            "missing column",
            "warning",
            1,
            (),
            f"no row has a column {name!r}",
            f"no row has a column {name!r}; the file's are {has} (name them in the registry's "
            "columns)",
        )
        for name in needed
        if name is not None and name not in seen
    ]


def _left_out(name: str, ours: str) -> Finding:
    return Finding(
        "left out",
        "warning",
        1,
        (),
        f"the column {name!r} is left out",
        f"the file has a column {name!r} that the registry leaves out "
        f'(add "{ours}": "{name}" to its columns to use it)',
    )
