"""What a check found in a set: lengths as a curve, findings with their rows; Enter goes to one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from tui.dialogs.dialog import Dialog
from tui.engine_text import engine_text
from tui.language import _, clauses, named
from tui.widgets.list_view import ListPanel, ListRow
from tui.widgets.numbers import thousands
from tui.widgets.sparkline import tall_sparkline
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.worker.checks import Alike, CheckState, DataCheck, Finding

_MARKS = {"bad": ("✗", "error"), "warning": ("!", "warning"), "note": ("·", "dim")}
_SHOWN = 8  # rows listed under a finding before the others are asked for
_BAR_HEIGHT, _BAR_CELLS = 5, 3


class CheckCard(Dialog[int | None]):
    """The result is the row to go to (from 0), or None. `state` gives what is known now."""

    DEFAULT_CSS = """
    CheckCard { align: center middle; background: transparent; }
    CheckCard > ListPanel { width: 100%; height: 100%; max-width: 120; }
    """
    BINDINGS: ClassVar = [Binding("escape,q", "leave", "close", show=False)]

    def __init__(self, state: Callable[[], CheckState]) -> None:
        super().__init__()
        self._state = state
        self._drawn: CheckState | None = None
        self._open: set[str] = set()

    def compose(self) -> ComposeResult:
        panel = ListPanel(f"{_('Check')}   {self._state().dataset}")
        panel.active = True
        yield panel

    def on_mount(self) -> None:
        self.query_one(ListPanel).focus()
        self.call_after_refresh(self.draw)
        self.set_interval(1.0, self._tick)

    def on_resize(self) -> None:
        self._drawn = None
        self.call_after_refresh(self.draw)

    def _tick(self) -> None:
        # The slow part may come while the card is open.
        if self._state() is not self._drawn:
            self.draw()

    def draw(self) -> None:
        """All that is known of the set."""
        state = self._drawn = self._state()
        panel = self.query_one(ListPanel)
        width = max(30, panel.content_width - 6)
        going = "" if state.finished else _("still comparing rows …")
        panel.set_figure([(going or f"Enter {_('go to the row')}   Esc {_('close')}", "dim")])
        panel.set_rows(_rows(state, width, self._open))

    def on_list_panel_chosen(self, event: ListPanel.Chosen) -> None:
        event.stop()
        kind, _sep, number = event.row.key.rpartition("#")
        if number.isdecimal():
            self.dismiss(int(number) - 1)
        elif kind == "more":
            self._open.add(number)
            self.draw()

    def action_leave(self) -> None:
        self.dismiss(None)


class _Lines:
    """List rows one by one, each with a key of its own."""

    def __init__(self, width: int, opened: Collection[str]) -> None:
        self.width = width
        self.opened = opened
        self.rows: list[ListRow] = []

    def say(self, text: str, mark: str = "", role: str = "ok", dim: bool = False) -> None:
        for part in wrap_cells(visible(text), self.width) or [""]:
            self.rows.append(ListRow(f"line {len(self.rows)}", part, (), mark, role, dim))
            mark = ""

    def gap(self) -> None:
        self.rows.append(ListRow(f"line {len(self.rows)}", ""))

    def go(self, number: int, text: str, kind: str) -> None:
        """A line that leads to row `number`."""
        self.rows.append(
            ListRow(f"{kind} {len(self.rows)}#{number}", visible(text), (), "→", "accent")
        )

    def many(self, kind: str, count: int, lines: Sequence[tuple[int, str]]) -> None:
        """Lines that lead to rows (from 1; 0: to none), of `count` that there are; Enter on the
        last one shows the rest."""
        shown = lines if kind in self.opened else lines[:_SHOWN]
        for number, text in shown:
            if number:
                self.go(number, text, kind)
            else:
                self.say(text)
        if count > len(shown):
            rest = "  " + _("and {count} more").format(count=thousands(count - len(shown)))
            if len(shown) < len(lines):
                self.rows.append(ListRow(f"more#{kind}", rest, (), "▸", "accent"))
            else:
                self.say(rest, dim=True)


def _rows(state: CheckState, width: int, opened: Collection[str]) -> list[ListRow]:
    lines = _Lines(width, opened)
    found = state.found
    if found is None:
        lines.say(engine_text(state.problem) or _("Checking …"))
        return lines.rows
    lines.say(engine_text(found.verdict))
    if state.note:
        lines.say(engine_text(state.note), dim=True)
    if found.tokens:
        lines.gap()
        _lengths(lines, found)
    for line in found.advice:
        lines.say(engine_text(line), "→", "accent")
    if found.problems:
        lines.gap()
        lines.say(_("Rows that can't be used"), "✗", "error")
        told = [
            (
                problem.row,
                named(f"  {_('row')} {thousands(problem.row)}", engine_text(problem.reason)),
            )
            for problem in found.problems
        ]
        lines.many("bad", found.unusable, told)
    for finding in found.findings:
        if finding.kind != "unusable":
            _finding(lines, finding)
    same = set(found.duplicates)
    near = [one for one in state.alike or () if one.row not in same]
    _alike(lines, near, _("Nearly equal rows"), found.dataset)
    _alike(lines, state.leaks or (), _("Validation rows that are trained on"), found.dataset)
    for said in state.limits:
        lines.say(engine_text(said), "·", "dim", dim=True)
    words = {finding.words for finding in found.findings}
    notes = [note for note in found.notes if note not in words]
    if notes:
        lines.gap()
        for note in notes:
            lines.say(engine_text(note), dim=True)
    return lines.rows


def _finding(lines: _Lines, finding: Finding) -> None:
    mark, role = _MARKS[finding.level]
    lines.gap()
    lines.say(engine_text(finding.words), mark, role)
    if finding.rows:
        told = [(row, f"  {_('row')} {thousands(row)}") for row in finding.rows]
        lines.many(finding.kind, finding.count, told)


def _alike(lines: _Lines, alike: tuple[Alike, ...] | list[Alike], title: str, dataset: str) -> None:
    if not alike:
        return
    lines.gap()
    lines.say(f"{title}: {thousands(len(alike))}", "!", "warning")
    told = []
    for one in alike:
        other = "" if one.other_dataset == dataset else f" ({one.other_dataset})"
        mine = "" if one.dataset == dataset else f" ({one.dataset})"
        how = _("the same question") if one.question else f"{one.likeness:.0%}"
        pair = f"  {_('row')} {thousands(one.row)}{mine} ~ {thousands(one.other)}{other}"
        words = clauses(pair, how)
        # A row of another set can't be gone to from here: the row it is like may be.
        goal = one.row if one.dataset == dataset else one.other
        told.append((goal if dataset in (one.dataset, one.other_dataset) else 0, words))
    lines.many(title, len(alike), told)


def _lengths(lines: _Lines, found: DataCheck) -> None:
    cells = max(1, min(_BAR_CELLS, lines.width // len(found.histogram)))
    wide = [float(count) for count in found.histogram for _cell in range(cells)]
    for bar in tall_sparkline(wide, _BAR_HEIGHT):
        lines.rows.append(ListRow(f"line {len(lines.rows)}", bar))
    end = f"{thousands(found.longest)} {_('tokens')}"
    space = max(1, len(wide) - len(end) - 1)
    lines.say(f"0{' ' * space}{end}", dim=True)
    shares = (
        f"{_('longest') if percent == 100 else f'p{percent}'} {thousands(tokens)}"
        for percent, tokens in found.percentiles
    )
    lines.say("   ".join(shares))
