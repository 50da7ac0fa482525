"""Where the rows of a set come from, and what is wrong with it: the panel below its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from tui.engine_text import engine_text
from tui.language import _, named
from tui.panes.words import row_count
from tui.widgets.frame import Line
from tui.widgets.numbers import size
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.worker.questions import DatasetEntry, RowView


def source_lines(
    entry: DatasetEntry, row: RowView | None, checked: Sequence[Line], misfit: str, width: int
) -> list[Line]:
    """File, format, rows and size; `checked`, what a check found; the columns of the row in view;
    `misfit`, why it does not suit the stage, in lines of `width` cells. Of a faulty set, its
    fault."""
    info = entry.info
    if entry.problem is not None:
        problem = entry.problem
        told = ((problem.what, "error"), (problem.where, "dim"), (problem.hint, "text"))
        return [
            [(part, role)]
            for words, role in told
            for part in wrap_cells(visible(engine_text(words)), width)
        ]
    if info is None:
        return []
    name = info.path.name if info.path is not None else entry.name
    rows = row_count(entry)
    if entry.shape not in ("preference", "text"):
        rows = f"{rows} {_('rows')}"
    first = f"{visible(name)} · {entry.kind} · {rows} · {size(entry.size_bytes)}"
    lines: list[Line] = [[(first, "text")], *checked]
    if row is not None:
        lines.append([(_("columns"), "dim"), (_columns(entry, row), "text")])
    if misfit:
        words = visible(named(_("not for this stage"), engine_text(misfit)))
        lines += [[(part, "warning")] for part in wrap_cells(words, width)]
    return lines


def _columns(entry: DatasetEntry, row: RowView) -> str:
    """`prompt=instruction  query=input`, where the registry maps them; else the file's own."""
    mapped = asdict(entry.info.columns) if entry.info is not None else {}
    pairs = [f"{ours}={theirs}" for ours, theirs in mapped.items() if theirs in row.raw]
    return visible("  " + "  ".join(pairs or row.raw))
