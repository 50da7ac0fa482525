"""Checks of sets: begun by a key, followed while they work, their verdict in a line or two."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tui.engine_text import engine_text
from tui.language import _, joined, named, sentence
from tui.widgets.frame import Line
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.worker.checks import CheckRun
    from tui.studio import Studio

_ROLES = {"good": "ok", "warnings": "warning", "bad rows": "error", "unusable": "error"}


class SetChecks:
    """One check at a time. `told` is called, on the check's thread, when there is something new."""

    def __init__(self, studio: Studio, told: Callable[[], None]) -> None:
        self._studio = studio
        self._told = told
        self.run: CheckRun | None = None

    def of(self, name: str) -> CheckRun | None:
        """The last check of a set, while the form still describes the same run."""
        run = self.run
        if run is None or run.state.dataset != name or run.config != self._studio.config:
            return None
        return run

    def begin(self, name: str) -> CheckRun:
        """Check a set; a check of another one that is still going on is given up."""
        from engine.worker.checks import start_check

        if self.run is not None:
            self.run.stop()
        self.run = start_check(name, self._studio.config, self._told)
        return self.run

    def stop(self) -> None:
        if self.run is not None:
            self.run.stop()

    def lines(self, name: str, width: int) -> list[Line]:
        """How far the check of a set is, then its verdict; empty where it was not checked."""
        run = self.of(name)
        if run is None:
            return []
        state = run.state
        if state.problem:
            return [
                [(part, "error")]
                for part in wrap_cells(visible(engine_text(state.problem)), width)[:2]
            ]
        found = state.found
        if found is None:
            words = _("Checking …")
            if state.total:
                words = f"{words} {thousands(state.done)} {_('of')} {thousands(state.total)}"
            return [[(words, "dim")]]
        said = [engine_text(found.verdict)]
        near = [one for one in state.alike or () if one.row not in set(found.duplicates)]
        if near:
            said.append(sentence(named(_("Nearly equal rows"), thousands(len(near)))))
        if state.leaks:
            leaks = thousands(len(state.leaks))
            said.append(sentence(named(_("Validation rows that are trained on"), leaks)))
        if not state.finished:
            said.append(_("Still comparing rows …"))
        role = _ROLES[found.status]
        return [[(part, role)] for part in wrap_cells(visible(joined(said)), width)[:2]]
