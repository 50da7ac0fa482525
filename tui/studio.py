"""What the screen is about: the next run, described on the left, and the run being watched.

Panes read from it and call its few verbs; it calls the engine. It draws nothing and holds no rule
of training: those are the engine's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.config import RunConfig, check, settings
from engine.paths import saves_dir
from engine.problem import BadInput, BadSettings, FinetuiError, Problem
from tui.fit import Fit
from tui.language import _
from tui.remembered import Remembered, remember

if TYPE_CHECKING:
    from engine.events import AnswerEnded, AnswerPiece, Event, JobFailed
    from engine.telemetry import Reading
    from engine.worker import Engine, Job
    from engine.worker.downloads import Download
    from engine.worker.questions import (
        DataFacts,
        DatasetEntry,
        KnownModel,
        ModelCard,
    )
    from tui.live import LiveRun
    from tui.works import Works

T = TypeVar("T")


class Studio(Fit):
    """The state of the screen; touched on the screen's thread only, except `inbox`, which the
    engine thread fills."""

    def __init__(self, works: Works, remembered: Remembered) -> None:
        super().__init__(remembered)
        self.works = works
        self.card: ModelCard | None = None
        self.card_problem: Problem | None = None
        self.datasets: list[DatasetEntry] = []
        self.datasets_problem: Problem | None = None
        self.facts: DataFacts | None = None
        self.models: list[KnownModel] = []
        self.demo_ready = False
        self.failure: JobFailed | None = None
        self.stopping: set[str] = set()
        self.precision = "auto"
        self.trained: dict[str, RunConfig] = {}  # what each run of this screen was asked to do
        self.reading: Reading | None = None
        self.live: LiveRun | None = None
        self.jobs: dict[str, LiveRun] = {}
        self.pieces: deque[AnswerPiece | AnswerEnded] = deque()
        self._met = False
        self._waiting: list[tuple[Any, Any, tuple[Any, ...], str | None]] = []
        self.inbox: deque[Event] = deque()

    @property
    def engine(self) -> Engine:
        return self.works.engine

    # Jobs

    def submit(self, job: Job, kind: str) -> LiveRun:
        """Hand a job to the engine; its events come by `inbox`."""
        run = self.engine.submit(job)
        live = self.jobs.get(run) or _live_run(run)
        live.kind = kind
        # A run that is gone on with keeps its name: what was asked of it before is over.
        self.stopping.discard(run)
        live.failure = None
        self.jobs.pop(run, None)
        self.jobs[run] = live
        if kind == "train":
            self.live = live
        return live

    def train(self, config: RunConfig) -> LiveRun:
        from engine.worker import TrainJob, questions

        problems = [*check(config), *self._misfits(config)]
        # Before torch is loaded for nothing, and a run's folder made.
        fault = questions.folder_fault(config.model_name_or_path or "demo")
        if fault is not None:
            problems.append(fault)
        if problems:
            raise BadSettings(problems)
        live = self.submit(TrainJob(config), "train")
        self.trained[live.run] = config
        live.stage, live.method = config.stage, config.finetuning_type
        return live

    @property
    def download(self) -> Download | None:
        """How the download of the chosen model stands, where one was asked for."""
        name = self.config.model_name_or_path or ""
        return self.works.engine.downloads.of(name) if self.works.made else None

    @property
    def current(self) -> LiveRun | None:
        """The job that runs now, whatever its kind."""
        info = self.works.engine.current if self.works.made else None
        return self.jobs.get(info.run) if info is not None else None

    @property
    def answering(self) -> bool:
        """Whether an answer is being written now; one that waits behind a run is not."""
        current = self.current
        return current is not None and current.kind == "chat"

    def drain(self) -> list[Event]:
        """Fold what the engine said since the last call; returns it, oldest first."""
        if not self.inbox:
            return []
        # Here, as the first frame has heard nothing yet.
        from engine.events import AnswerEnded, AnswerPiece

        events: list[Event] = []
        while self.inbox:
            event = self.inbox.popleft()
            events.append(event)
            if isinstance(event, (AnswerPiece, AnswerEnded)):
                self.pieces.append(event)
                continue
            live = self.jobs.get(event.run)
            if live is None:
                live = self.jobs[event.run] = _live_run(event.run)
            live.fold(event)
        return events

    @property
    def last(self) -> LiveRun | None:
        """The job that was handed in last, running or ended."""
        return next(reversed(self.jobs.values()), None)

    # Look-ups

    def begin(self, app: Any) -> None:
        """Read what the first picture needs. Called once, when the screen is up."""

        self._later = app.call_from_thread_later
        self.check_form()
        self.read_datasets()
        self.read_runs()
        self.choose_model(self.config.model_name_or_path or "demo")
        if self.works.made:
            self.meet_engine()

    def meet_engine(self) -> None:
        """What takes the engine's look-ups and the machine's readings; once, behind the first
        frame."""
        if self._met:
            return
        self._met = True
        for then, function, args, key in self._waiting:
            self.ask(then, function, *args, key=key)
        self._waiting.clear()
        self._answer(_told_cut_off, self.notes.extend, saves_dir())
        self.read_models()
        self.look_again()

    def read_models(self) -> None:
        """Look again at which models are there."""
        from engine.worker import questions

        self._answer(questions.known_models, self._take_models, key="models")

    def _answer(
        self, function: Callable[..., T], take: Callable[[T], None], *args: Any, key: str = ""
    ) -> None:
        """Ask on the look-up thread and take the answer on the screen's; faults become notes."""

        def on_screen(future: Future[T]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                take(future.result())
            elif isinstance(error, (FinetuiError, OSError)):
                self.notes.append(str(error))
            else:
                raise error

        self.ask(lambda future: self._later(on_screen, future), function, *args, key=key or None)

    def _take_models(self, models: list[KnownModel]) -> None:
        first, was_ready = not self.models, self.model_ready
        self.models = models
        self.demo_ready = any(model.name == "demo" and model.ready for model in models)
        if self.model_ready and not was_ready:
            if not first:
                self.forget_rows()  # its tokenizer came with it
            self.choose_model(self.config.model_name_or_path or "demo")

    @property
    def model_ready(self) -> bool:
        """Whether the form's model is known to be on this machine."""
        name = self.config.model_name_or_path
        return any(model.name == name and model.ready for model in self.models)

    def read_datasets(self) -> None:
        """List the dataset folder; what is wrong with it stands in `datasets_problem`."""
        from engine.worker.questions import datasets_in

        folder = self.config.dataset_dir or ""
        if folder.startswith("REMOTE:"):
            # The hub may let one wait.
            self.datasets = []
            self.datasets_problem = Problem(_("The hub's list of sets is being read …"))
            self.ask(lambda f: self._later(self._take_remote, f, folder), datasets_in, folder)
            self.look_again()
            return
        try:
            self.datasets = datasets_in(self.config.dataset_dir)
            self.datasets_problem = None
        except BadInput as error:
            self.datasets, self.datasets_problem = [], error.problem
        self.look_again()

    def _take_remote(self, future: Future[list[DatasetEntry]], folder: str) -> None:
        if future.cancelled() or folder != self.config.dataset_dir:
            return
        error = future.exception()
        if isinstance(error, BadInput):
            self.datasets, self.datasets_problem = [], error.problem
        elif error is not None:
            raise error
        else:
            self.datasets, self.datasets_problem = future.result(), None
        self.look_again()

    def check_form(self) -> None:
        super().check_form()
        self.problems += self._misfits(self.config)

    def _misfits(self, config: RunConfig) -> list[Problem]:
        """Chosen sets that don't suit the stage: they are told before a run starts for nothing."""
        from engine.worker.questions import misfit

        if config.dataset_dir != self.config.dataset_dir:
            return []
        found = []
        for entry in self.datasets:
            reason = misfit(entry, config.stage) if entry.name in config.datasets else ""
            if reason:
                found.append(
                    Problem(
                        f"The set {entry.name} does not suit the stage {config.stage}: {reason}.",
                        hint="Choose another set in the panel Data, or another stage.",
                        setting="dataset",
                    )
                )
        return found

    def fits_stages(self, entry: DatasetEntry) -> list[str]:
        """The stages that a set suits."""
        from engine.worker.questions import misfit

        return [stage for stage in settings()["stage"].choices if not misfit(entry, stage)]

    def misfit(self, entry: DatasetEntry) -> str:
        """Why a set does not suit the form's stage; empty where it does."""
        from engine.worker.questions import misfit

        return misfit(entry, self.config.stage)

    def fitting(self) -> list[tuple[DatasetEntry, str]]:
        """The sets with the reason why each does not suit the stage; those that suit it first."""
        pairs = [(entry, self.misfit(entry)) for entry in self.datasets]
        return sorted(pairs, key=lambda pair: bool(pair[1]))

    @property
    def rows(self) -> int | None:
        """Rows that the next run trains on, packed where it packs; None where none are known."""
        rows = self.unpacked_rows
        return rows if rows is None or self.row_facts is None else self.row_facts.packed(rows)

    @property
    def unpacked_rows(self) -> int | None:
        return self.facts.rows if self.facts is not None and self.facts.rows else None

    def look_again(self) -> None:
        """Everything that follows from the form: faults, rows, memory."""
        from engine.worker import questions

        self.check_form()
        self.facts = questions.data_facts(self.datasets, self.config)
        if not self.works.made:
            return
        self.look_at_fit()
        self.precision = questions.precision_name(self.config)
        self._read_pace()

    def choose_model(self, name: str) -> None:
        """Put a model into the form, and read its card."""
        from engine.worker import questions

        if name != self.config.model_name_or_path:
            self.change("model_name_or_path", name)
        try:
            self.card, self.card_problem = questions.model_card(name), None
        except BadInput as error:
            self.card, self.card_problem = None, error.problem
        self.look_again()

    def type_model(self, name: str) -> None:
        """A model that was typed: it is remembered for the list."""
        from engine.worker import questions

        self.choose_model(name)
        questions.remember_model(name)
        self.read_models()

    def ask(
        self,
        then: Callable[[Future[Any]], None],
        function: Callable[..., T],
        *args: Any,
        key: str | None = None,
    ) -> None:
        """Compute `function(*args)` on the look-up thread; `then` gets the future there. Before
        there is an engine, questions wait for it."""
        if not self._met:
            self._waiting.append((then, function, args, key))
            return
        self.engine.lookup(function, *args, key=key).add_done_callback(then)

    def save_screen(self) -> None:
        """Remember language, theme and the like."""
        fault = remember(self.remembered)
        if fault:
            self.notes.append(fault)


def _live_run(run: str) -> LiveRun:
    from tui.live import LiveRun

    return LiveRun(run)


def _told_cut_off(root: Path) -> list[str]:
    """On the look-up thread: a note for each run whose process was killed; told only once."""
    from engine.runs.history import acknowledge, interrupted_runs

    notes = []
    for run in interrupted_runs(root):
        notes.append(f"{run.name}: {run.last_note}")
        try:
            acknowledge(run)
        except OSError as error:
            notes.append(f"{run.path}: {error.strerror or error}")
    return notes
