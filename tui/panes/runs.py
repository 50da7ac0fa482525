"""A run's detail: its curve, its checkpoints, its settings; also of runs of other tools."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.widget import Widget

from engine.config.method import WRITING_STAGES
from tui.actions import in_scope
from tui.engine_text import engine_text
from tui.language import _, listed
from tui.panes.measure_charts import ChartView, MeasureCharts
from tui.panes.words import STATES
from tui.shell import shell
from tui.widgets.frame import Line
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import age, loss, thousands
from tui.widgets.text_safe import pad_cells

if TYPE_CHECKING:
    from pathlib import Path

    from engine.events import Completions
    from engine.runs.curves import Curves
    from engine.runs.history import RunSummary
    from tui.live import LiveRun
    from tui.studio import Studio


class RunView(ChartView):
    """The run that the list's cursor stands on."""

    home = "runs"
    DEFAULT_CSS = """
    RunView LinesPanel { height: 12; }
    RunView.narrow LinesPanel { height: 7; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-runs")
        self.charts = MeasureCharts(_("This run logged no loss."))
        self.facts = LinesPanel(_("run"))
        self._asked: object = None

    def compose(self) -> ComposeResult:
        yield self.charts
        yield self.facts

    def entry(self) -> Widget:
        return self.charts.first

    def fit(self, narrow: bool, wide: bool) -> None:
        self.set_class(narrow, "narrow")

    def show(self) -> None:
        run = self._run()
        if run is None:
            self.charts.set_empty(_("There is no run yet."))
            self.charts.set_pictures([], None)
            self.facts.set_title(_("run"))
            self.facts.set_figure("")
            told = _("None yet. Press t to train one; it is kept in saves/.")
            self.facts.set_lines([[], [(told, "dim")]])
            return
        self.charts.set_empty(_("This run logged no loss."))
        self.facts.set_title(run.name)
        self.facts.set_figure(_(STATES.get(run.state, run.state)))
        self.facts.set_lines(self._lines(run))
        live = self._live(run)
        asked = (run.path, run.updated, live is None)
        if live is not None:
            self.charts.set_pictures(live.pictures(), live.total_steps or None)
            self._asked = asked
        elif asked != self._asked:
            self._asked = asked
            self._ask(run.path)

    def _run(self) -> RunSummary | None:
        return self.studio.run_at(shell(self).rail.runs.cursor_row)

    def _live(self, run: RunSummary) -> LiveRun | None:
        """The run as the engine tells of it while it is under way: its folder is read once."""
        live = self.studio.live
        return live if live is not None and live.run == run.name and not live.ended else None

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
        from engine.runs.measures import of_curves, pictures

        run = self._run()
        stage = run.stage if run is not None else ""
        self.charts.set_pictures(pictures(stage, *of_curves(curves)), curves.total_steps or None)

    def _lines(self, run: RunSummary) -> list[Line]:
        live = self._live(run)
        step, total, last = run.step, run.total_steps, run.last_loss
        if live is not None and live.total_steps:
            step, total, last = live.step, live.total_steps, live.last_loss
        steps = f"{thousands(step)}/{thousands(total)}" if total else "–"
        rows = [
            (_("model"), run.model or "–"),
            (_("stage"), f"{run.stage or '–'} · {run.method or '–'}"),
            (_("steps"), steps),
            (_("last loss"), loss(last)),
            (_("best validation"), self._best_words(run)),
            (_("last change"), f"{_(age(time.time() - run.updated))}   {run.path}"),
            (_("checkpoints"), self._checkpoint_words(run)),
        ]
        lines: list[Line] = [
            [(pad_cells(label, 18), "dim"), (value, "text")] for label, value in rows
        ]
        if run.last_note:
            role = "error" if run.state in ("failed", "interrupted") else "dim"
            lines.append([(engine_text(run.last_note), role)])
        return lines

    def _best_words(self, run: RunSummary) -> str:
        """`accuracy 0.93 at step 40`: by what the run watched; else its lowest validation loss."""
        from engine.runs.measures import measure_of

        best = self.studio.best_of(run)
        if best is None:
            return loss(run.best)
        measure = measure_of(best.measure)
        name = _(measure.label) if measure is not None else best.measure
        return f"{name} {loss(best.value)} · {_('step')} {thousands(best.step)}"

    def _checkpoint_words(self, run: RunSummary) -> str:
        """The steps of the checkpoints, `★` before the best one's."""
        best = self.studio.best_of(run)
        at = best.step if best is not None else None
        steps = (f"{'★ ' if step == at else ''}{thousands(step)}" for step in run.checkpoints)
        return listed(steps) or "–"

    def idle(self) -> frozenset[str]:
        run = self._run()
        if run is None:
            # What acts on a run of the list; `c` then is the chat's key as anywhere.
            of_runs = {action.id for action in in_scope("runs")}
            return self.charts_idle(False) | of_runs
        return self.charts_idle(run.stage in WRITING_STAGES)

    def read_completions(self) -> None:
        from engine.worker.questions import completions_of

        run = self._run()
        if run is None:
            return

        def answered(future: Future[tuple[Completions, ...]]) -> None:
            shell(self).call_from_thread_later(self._open_completions, future)

        self.studio.ask(answered, completions_of, run.path, key="completions")

    def _open_completions(self, future: Future[tuple[Completions, ...]]) -> None:
        from tui.dialogs.completions import CompletionsCard, no_completions

        try:
            found = future.result()
        except CancelledError:
            return
        except OSError as error:
            self.app.notify(str(error), severity="error")
            return
        if found:
            self.app.push_screen(CompletionsCard(lambda: found))
        else:
            self.app.notify(no_completions())
