"""Which row of a set is in view: gone to by number, also while the set is still being indexed."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.problem import FinetuiError
from tui.dialogs import AskLine
from tui.language import _, sentence
from tui.panes.row_finding import RowFinding
from tui.shell import shell
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import thousands

if TYPE_CHECKING:
    from engine.worker.questions import DatasetEntry, RowView
    from engine.worker.rows import IndexState
    from tui.studio import Studio


class RowPlaces(RowFinding):
    """The part of the row browser that knows where it stands in each set."""

    row_panel: LinesPanel

    def __init__(self, studio: Studio, *, id: str) -> None:
        super().__init__(studio, id=id)
        self.row: RowView | None = None
        self._asked: object = None
        self._asked_state: object = None
        self._places: dict[str, int] = {}

    @staticmethod
    def not_reached(row: RowView) -> bool:
        return row.share < 1 and row.index >= row.total

    def _last(self, entry: DatasetEntry) -> int:
        """The last place of the order that can be gone to now."""
        if self.order.numbers is not None:
            return max(0, len(self.order.numbers) - 1)
        row = self.row
        known = row.total if row is not None and row.dataset == entry.name else entry.rows
        return max(0, (known or 1) - 1)

    def go(self, place: int) -> None:
        entry = self.entry_shown
        if entry is None:
            return
        self._places[entry.name] = max(0, min(place, self._last(entry)))
        self.row_panel.to_top()
        self.show()

    @property
    def place(self) -> int:
        entry = self.entry_shown
        return self._places.get(entry.name, 0) if entry is not None else 0

    @property
    def _index(self) -> int:
        return self.order.row_at(self.place)

    # By number

    def action_go_to_row(self) -> None:
        entry = self.entry_shown
        if entry is None:
            return
        row = self.row if self.row is not None and self.row.dataset == entry.name else None
        total = row.total if row is not None else entry.rows or 0
        indexing = row is not None and row.share < 1

        def check(text: str) -> str:
            number = text.replace(",", "").strip()
            if number.isdecimal() and int(number) >= 1 and (indexing or int(number) <= total):
                return ""
            return sentence(f"{_('Type a number from 1 to')} {thousands(total)}")

        def typed(text: str | None) -> None:
            if text is not None:
                self._go_to_row(entry.name, int(text.replace(",", "").strip()) - 1)

        note = f"1 … {thousands(total)}{'+' if indexing else ''}"
        self.app.push_screen(AskLine(_("Go to row"), "", note, check), typed)

    def _go_to_row(self, name: str, row: int) -> None:
        """Show a row by its number, also one that the index has not come to."""
        numbers = self.order.numbers
        if numbers is not None and row not in numbers:
            self.leave_set()  # the row is not among those shown: show all again
        self._places[name] = self.order.place_of(row)
        self.row_panel.to_top()
        self.show()

    # The index

    def ask_state(self, name: str) -> None:
        """How far the index is, once a tick."""
        from engine.worker.rows import index_state

        def answered(future: Future[IndexState]) -> None:
            shell(self).call_from_thread_later(self._take_state, future)

        if self._asked_state is None:
            self._asked_state = name
            self.studio.ask(answered, index_state, name, self.studio.config, key="index")

    def _take_state(self, future: Future[IndexState]) -> None:
        self._asked_state = None
        try:
            state = future.result()
        except (CancelledError, FinetuiError, OSError):
            return  # the row itself says what is wrong with its set
        row = self.row
        if row is None or row.dataset != state.dataset:
            return
        waits = row.example is None and row.index >= row.total
        self.row = replace(row, total=state.known, share=state.share)
        if state.problem and row.share < 1:
            self.app.notify(state.problem, severity="error")
        elif state.share == 1:
            self.studio.datasets = [
                replace(one, rows=state.known) if one.name == state.dataset else one
                for one in self.studio.datasets
            ]
            self.studio.look_again()
        if waits and (row.index < state.known or state.share == 1):
            self._asked = None
            self.show()
