"""One line of a form, and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

from tui.widgets.frame import Span
from tui.widgets.numbers import middle_cut
from tui.widgets.text_safe import visible

Kind = Literal["heading", "fold", "text", "choice", "switch", "note"]
LABEL_CELLS = 28
USUAL_LABEL_CELLS = 22
VALUE_CELLS = 9


@dataclass(frozen=True)
class FormRow:
    """One line of a form.

    `kind`: `heading` and `note` are only read; `fold` is a closed section that opens; `text` is
    typed, `choice` walks through choices, `switch` is on (`[x]`) or off. `value` is as written for
    a person. `changed` marks it with `●`; `problem` is a sentence shown below it in the error
    colour; `dimmed` says why it can't be used (a package to install). `typed` is what the editor
    opens with, where that is not `value` (which may tell what an empty value comes to). `remark`
    is a sentence shown dim below it.
    """

    key: str
    label: str
    value: str = ""
    kind: Kind = "text"
    changed: bool = False
    problem: str = ""
    dimmed: str = ""
    typed: str | None = None
    remark: str = ""

    @property
    def to_edit(self) -> str:
        """What the editor opens with."""
        return self.value if self.typed is None else self.typed

    @property
    def can_stop(self) -> bool:
        """Whether the cursor may stand on it."""
        return self.kind not in ("heading", "note")


def value_column(rows: Iterable[FormRow], width: int) -> int:
    """The cell where every value starts: at most 28 after the label's beginning."""
    labels = (row.label for row in rows if row.can_stop and row.kind != "fold")
    widest = max((cell_len(label) for label in labels), default=0) + 1
    room = width - 3 - VALUE_CELLS - 2
    return 3 + max(8, min(LABEL_CELLS, max(USUAL_LABEL_CELLS, widest), room))


def row_line(row: FormRow, width: int, column: int, typed_wrong: bool) -> list[Span]:
    """A row as it is drawn, its value from `column` on; `typed_wrong`: what is being typed there
    can't be taken."""
    if row.kind == "heading":
        return [(f" {row.label}", "accent bold")]
    if row.kind == "note":
        return [(f"   {row.label}", "dim")]
    if row.kind == "fold":
        label = f" ▸ {row.label}"
        gap = max(2, column - cell_len(label))
        return [(label, "text"), (" " * gap + row.value, "dim")]
    role = "error" if row.problem or typed_wrong else "dim" if row.dimmed else "text"
    label = middle_cut(visible(row.label), column - 4)
    value = visible(row.value)
    if row.kind == "choice":
        value = f"‹ {value} ›"
    elif row.kind == "switch":
        value = f"[{'x' if row.value else ' '}]"
    room = max(1, width - column - 3)
    value = middle_cut(value, room)
    gap = column - 3 - cell_len(label)
    line: list[Span] = [("   ", role), (label, role), (" " * gap, role), (value, role)]
    if row.changed:
        pad = max(1, VALUE_CELLS - cell_len(value))
        line += [(" " * min(pad, max(1, room + 1 - cell_len(value))), role), ("●", "accent")]
    return line
