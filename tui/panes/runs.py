"""A run's detail: its curve, its checkpoints, its settings; also of runs of other tools."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.widget import Widget

from tui.actions import bindings
from tui.language import _
from tui.panes.view import View
from tui.panes.words import STATES, chart_words
from tui.shell import shell
from tui.widgets.chart import LossChart
from tui.widgets.frame import Line, LinesPanel
from tui.widgets.numbers import age, loss, thousands
from tui.widgets.text_safe import pad_cells

if TYPE_CHECKING:
    from pathlib import Path

    from engine.runs.curves import Curves
    from engine.runs.history import RunSummary
    from tui.studio import Studio


class RunView(View):
    """The run that the list's cursor stands on."""

    home = "runs"
    scope = "train"
    BINDINGS: ClassVar = bindings("train")
    DEFAULT_CSS = """
    RunView LossChart { height: 1fr; }
    RunView LinesPanel { height: 12; }
    RunView.narrow LinesPanel { height: 7; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-runs")
        self.chart = LossChart(
            chart_words(),
            empty=_("This run logged no loss."),
        )
        self.facts = LinesPanel(_("run"))
        self._asked: object = None

    def compose(self) -> ComposeResult:
        yield self.chart
        yield self.facts

    def entry(self) -> Widget:
        return self.chart

    def fit(self, narrow: bool, wide: bool) -> None:
        self.set_class(narrow, "narrow")

    def relabel(self) -> None:
        self.chart.set_words(chart_words(), _("This run logged no loss."))

    def show(self) -> None:
        run = self.studio.run_at(shell(self).rail.runs.cursor_row)
        if run is None:
            self.chart.set_points([], [])
            self.facts.set_lines([[], [(_("There is no run yet."), "dim")]])
            return
        self.facts.set_title(run.name)
        self.facts.set_figure(_(STATES.get(run.state, run.state)))
        self.facts.set_lines(self._lines(run))
        asked = (run.path, run.updated)
        if asked != self._asked:
            self._asked = asked
            self._ask(run.path)

    def _ask(self, path: Path) -> None:
        from engine.runs.curves import read_curves

        def answered(future: Future[Curves]) -> None:
            shell(self).call_from_thread_later(self._take, future)

        self.studio.ask(answered, read_curves, path, key="curves")

    def _take(self, future: Future[Curves]) -> None:
        try:
            curves = future.result()
        except CancelledError:
            return
        except OSError as error:
            self.app.notify(str(error), severity="error")
            return
        self.chart.set_points(curves.steps, curves.losses)
        self.chart.set_validation(curves.eval_steps, curves.eval_losses)
        self.chart.set_total(curves.total_steps or None)

    def _lines(self, run: RunSummary) -> list[Line]:
        steps = f"{thousands(run.step)}/{thousands(run.total_steps)}" if run.total_steps else "–"
        rows = [
            (_("model"), run.model or "–"),
            (_("stage"), f"{run.stage or '–'} · {run.method or '–'}"),
            (_("steps"), steps),
            (_("last loss"), loss(run.last_loss)),
            (_("best validation"), loss(run.best)),
            (_("last change"), f"{_(age(time.time() - run.updated))}   {run.path}"),
            (_("checkpoints"), ", ".join(thousands(step) for step in run.checkpoints) or "–"),
        ]
        lines: list[Line] = [
            [(pad_cells(label, 18), "dim"), (value, "text")] for label, value in rows
        ]
        if run.last_note:
            role = "error" if run.state in ("failed", "interrupted") else "dim"
            lines.append([(run.last_note, role)])
        return lines

    def action_zoom(self) -> None:
        self.chart.zoom()

    def action_log_axis(self) -> None:
        self.chart.toggle_log()
