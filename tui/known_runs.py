"""The runs of this machine as the screen knows them: what each can be used as, how fast it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.paths import saves_dir
from tui.next_run import NextRun
from tui.remembered import Remembered
from tui.sources import Source, bare_name, run_sources

if TYPE_CHECKING:
    from engine.runs.history import RunSummary
    from engine.worker.questions import BestStep, ModelCard
    from tui.widgets.list_view import ListRow

T = TypeVar("T")
# What a run can be used as, and where it measured best.
Found = tuple[tuple[Source, ...], "BestStep | None"]


class KnownRuns(NextRun):
    """The part of the studio that reads `saves/`, always on the look-up thread."""

    card: ModelCard | None = None

    def __init__(self, remembered: Remembered) -> None:
        super().__init__(remembered)
        self.runs: list[RunSummary] = []
        self.runs_read = False
        # By a run's folder; and what was found for which state of it.
        self._found: dict[Path, Found] = {}
        self._known: dict[tuple[Path, float, tuple[int, ...]], Found] = {}
        # Seconds a step for (model, method, batch), from the runs that were read last.
        self._pace: float | None = None
        self._pace_of: object = None

    def _answer(
        self, function: Callable[..., T], take: Callable[[T], None], *args: Any, key: str = ""
    ) -> None:
        """Ask on the look-up thread and take the answer on the screen's."""
        raise NotImplementedError

    @property
    def model_name(self) -> str:
        """The chosen model's display name."""
        if self.card is not None:
            return self.card.name
        return bare_name(self.config.model_name_or_path or "") or "–"

    def folder_of(self, run: str) -> Path | None:
        """The folder of a run in the list, by its name."""
        return next((one.path for one in self.runs if one.name == run), None)

    def read_runs(self) -> None:
        """Look again at the run folders, on the look-up thread: there may be hundreds."""
        self._answer(self._found_runs, self._take_runs, saves_dir(), key="runs")

    def _found_runs(self, root: Path) -> list[tuple[RunSummary, Found]]:
        """On the look-up thread: the runs, what each can be used as, where it measured best."""
        from engine.runs.history import list_runs
        from engine.worker.questions import best_step

        found = []
        known: dict[tuple[Path, float, tuple[int, ...]], Found] = {}
        for run in list_runs(root):
            state = (run.path, run.updated, tuple(run.checkpoints))
            known[state] = ((), None)
            if state in self._known:
                known[state] = self._known[state]
            elif run.kind == "train":
                best = best_step(run.path)
                known[state] = (run_sources(run, best), best)
            found.append((run, known[state]))
        self._known = known
        return found

    def _take_runs(self, found: list[tuple[RunSummary, Found]]) -> None:
        self.runs = [run for run, _found in found]
        self._found = {run.path: what for run, what in found}
        self.runs_read = True
        self._pace_of = None
        self._read_pace()

    def _read_pace(self) -> None:
        """Find the time a step took in an earlier run like this one, when either changed."""
        from engine.worker.questions import seconds_a_step

        like = (self.model_name, self.config.finetuning_type, self.config.effective_batch)
        if like == self._pace_of:
            return
        self._pace_of = like

        def take(seconds: float | None) -> None:
            self._pace = seconds

        args = (tuple(self.runs), self.config, self.model_name)
        self._answer(seconds_a_step, take, *args, key="pace")

    def run_at(self, row: ListRow | None) -> RunSummary | None:
        """The run that a row of the list stands for."""
        return next((run for run in self.runs if row and str(run.path) == row.key), None)

    def sources_of(self, run: RunSummary) -> list[Source]:
        """What a run can be used as: its result, then its checkpoints, newest first."""
        base = self.config.model_name_or_path or "demo"
        sources, _best = self._found.get(run.path, ((), None))
        return [replace(one, model=one.model or base) for one in sources]

    def best_of(self, run: RunSummary) -> BestStep | None:
        """Where a run measured best, by whichever measure it watched."""
        return self._found.get(run.path, ((), None))[1]

    def run_sources_now(self) -> list[Source]:
        """The runs' results and checkpoints, newest first."""
        return [source for run in self.runs for source in self.sources_of(run)]

    def sources(self) -> list[Source]:
        """What can be talked to: the chosen base, then the runs' results and checkpoints."""
        base = self.config.model_name_or_path or "demo"
        return [Source(self.model_name, base), *self.run_sources_now()]

    def seconds_per_run(self, steps: int) -> float | None:
        """A time estimate from this machine's earlier runs of the same model and method, if any.

        The mean seconds a step of the newest run with the same model, method and micro-batch.
        """
        return None if self._pace is None else self._pace * steps
