"""The first rows of a set as they would be learned from, under what would be lost of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.engine_text import engine_text
from tui.language import _
from tui.panes.row_views import row_lines
from tui.widgets.frame import Line
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.worker.new_sets import Look


def preview_lines(look: Look, width: int) -> list[Line]:
    """Warnings first, then each row under its number."""
    lines: list[Line] = []
    for warning in look.warnings:
        parts = wrap_cells(visible(engine_text(warning)), width - 2)
        marks = ["! ", *["  "] * (len(parts) - 1)]
        lines += [[(mark + part, "warning")] for mark, part in zip(marks, parts, strict=True)]
    if not look.examples:
        lines.append([(_("None of the rows can be used so."), "error")])
    for example in look.examples:
        lines += [[], [(f"{_('row')} {thousands(example.source_row)}", "dim")]]
        lines += row_lines(example, "", width)
    return lines
