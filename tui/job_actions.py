"""What a person asks of the engine: train, stop, resume, leave; and how jobs' ends are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import with_value
from engine.problem import BadInput, BadSettings, Problem
from tui import dialogs
from tui.engine_text import engine_text
from tui.language import _, named
from tui.shell import Shell
from tui.widgets.list_view import ListRow
from tui.widgets.numbers import loss, middle_cut, size, thousands

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.events import Event, JobFailed, JobFinished
    from tui.live import LiveRun

LEAVE_SECONDS = 120.0


class JobActions(Shell):
    """Mixed into the app; everything here is a binding's action or a reaction to an event."""

    # Train

    def action_train(self) -> None:
        self.run_worker(self._train(), exclusive=False)

    async def _train(self) -> None:
        if await self._may_train():
            await self.start_training(self.studio.config)

    async def _may_train(self) -> bool:
        """Whether a run may be handed in: asked where another holds the device."""
        current = self.studio.current
        if current is None or current.kind == "chat":
            return True
        title = _("Something is running already")
        words = [f"{current.run}: {_('it holds the device until it ends.')}"]
        answers = [dialogs.Answer("t", _("train after it"))]
        question = dialogs.Question(title, words, answers, about=current.run)
        return await self.push_screen_wait(question) == "t"

    async def start_training(self, config: RunConfig) -> None:
        """Submit a run and show the monitor; what is wrong with the settings is told at once."""
        if config.output_dir and self._is_at_work(Path(config.output_dir).expanduser()):
            return
        try:
            self.studio.train(with_value(config, "do_train", True))
        except BadSettings as error:
            self.tell(error.problems[0], len(error.problems))
            return
        except BadInput as error:
            self.tell(error.problem)
            return
        self.studio.save_form()
        await self.open_view("train")

    def _is_at_work(self, folder: Path) -> bool:
        """Whether a job of this screen trains in `folder`; told where it does."""
        from engine.worker.engine import AT_WORK

        busy = self.engine.works_in(folder)
        if busy:
            self.tell(replace(AT_WORK, where=str(folder)))
        return busy

    # Stop, pause

    def action_stop_job(self) -> None:
        self.run_worker(self._stop(), exclusive=False)

    async def _stop(self) -> None:
        live = self.studio.current
        if live is None:
            self.notify(_("Nothing is running."))
            return
        if live.run not in self.studio.stopping:
            self.studio.stopping.add(live.run)
            self.engine.stop(live.run)
            if live.kind == "train":
                self.notify(_("Stopping: the last whole step is saved. s again: stop unsaved."))
            return
        answer = await self.push_screen_wait(
            dialogs.Question(
                _("Stop without saving?"),
                [_("The steps since the last checkpoint would be lost.")],
                [dialogs.Answer("s", _("stop without saving"))],
                role="warning",
                about=live.run,
            )
        )
        if answer == "s":
            self.engine.stop(live.run, save=False)

    def action_pause_job(self) -> None:
        live = self.studio.current
        if live is None or live.kind == "chat":
            self.notify(_("Nothing is running."))
        elif live.state == "paused":
            self.engine.go_on(live.run)
        else:
            self.engine.pause(live.run)
            self.notify(_("Pausing after this micro-batch; space goes on."))

    # Runs

    def action_resume_run(self) -> None:
        self.run_worker(self._resume(), exclusive=False)

    async def _resume(self) -> None:
        from engine.runs.checkpoints import list_checkpoints
        from engine.worker.questions import run_settings

        run = self.studio.run_at(self.rail.runs.cursor_row)
        if run is None:
            return
        if self._is_at_work(run.path):
            return
        points = [point for point in list_checkpoints(run.path) if point.complete]
        if not points:
            self.tell(
                Problem(
                    _("This run has no complete checkpoint to go on from."),
                    where=str(run.path),
                    hint=_("Press a to take its settings, then t to train anew."),
                )
            )
            return
        rows = [
            ListRow(
                str(point.path),
                f"{_('step')} {thousands(point.step)}",
                ("★" if point.best else "", loss(point.loss), size(point.size)),
            )
            for point in reversed(points)
        ]
        title = f"{_('Resume')} {run.name} {_('from')}"
        picked = await self.push_screen_wait(dialogs.Pick(title, rows))
        if picked is None:
            return
        try:
            config = run_settings(run.path)
            config = with_value(config, "output_dir", str(run.path))
            config = with_value(config, "resume_from_checkpoint", picked)
        except BadInput as error:
            self.tell(error.problem)
            return
        if await self._may_train():
            await self.start_training(config)

    def action_take_settings(self) -> None:
        from engine.worker.questions import run_settings

        run = self.studio.run_at(self.rail.runs.cursor_row)
        if run is None:
            return
        try:
            config = run_settings(run.path)
            for name in ("output_dir", "resume_from_checkpoint"):
                config = with_value(config, name, None)
        except BadInput as error:
            self.tell(error.problem)
            return
        self.studio.take_over(config)
        self.action_form_changed()
        self.notify(_("The form holds the settings of {run}.").format(run=run.name))

    async def action_chat_run(self) -> None:
        run = self.studio.run_at(self.rail.runs.cursor_row)
        if run is None:
            await self.open_view("chat")
            return
        found = self.studio.sources_of(run)
        if not found:
            self.tell(Problem(_("This run holds no model yet."), where=str(run.path)))
            return
        await self.open_view("chat")
        view = self.views["chat"]
        view.talk_to(found[0])  # type: ignore[attr-defined]

    # What the engine said

    def react(self, heard: list[Event]) -> None:
        """Cards for failures, a refreshed list of runs at every start and end."""
        if not heard:
            return
        from engine.events import ENDED, JobFailed, JobFinished, StateChanged

        for event in heard:
            ended = isinstance(event, StateChanged) and event.state in ENDED
            if ended or isinstance(event, (JobFailed, JobFinished)):
                self._withdraw_question(event.run)
            live = self.studio.jobs.get(event.run)
            if isinstance(event, JobFailed) and event.smaller and event.run in self.studio.trained:
                self.offer_smaller(event)
            elif isinstance(event, JobFailed):
                self.show_failure(event)
            elif isinstance(event, JobFinished) and live is not None:
                self._told_end(live, event)
            if isinstance(event, StateChanged) and (live is None or live.kind == "train"):
                self.studio.read_runs()
                if not self.studio.model_ready and event.state not in ("queued", "loading"):
                    self.studio.read_models()  # the run may have fetched it

    def _withdraw_question(self, run: str) -> None:
        """What was asked about a run that has ended meanwhile has no answer any more."""
        asked = self.screen
        if isinstance(asked, dialogs.Question) and asked.about == run:
            asked.dismiss("")

    def _told_end(self, live: LiveRun, event: JobFinished) -> None:
        place = event.result.get("output_dir") or event.result.get("folder") or ""
        if live.kind == "train" and place:
            self.notify(f"{named(_('Trained'), str(place))}  ·  c {_('chat')}  e {_('evaluate')}")

    def offer_smaller(self, event: JobFailed) -> None:
        """Ask whether a run whose memory ran out goes on (`MemoryActions`)."""
        raise NotImplementedError

    def show_failure(self, event: JobFailed) -> None:
        """The card over the view: what, where, what to try, and the keys."""
        self.studio.failure = event
        keys = {}
        if event.details:
            keys["d"] = _("details")
        keys["l"] = _("log")
        live = self.studio.jobs.get(event.run)
        if live is not None and live.kind == "train":
            keys["r"] = _("try again")
        lines: list[Any] = [engine_text(event.what)]
        if event.where:
            lines += [[], [(engine_text(event.where), "dim")]]
        if event.hint:
            lines += [[], [(engine_text(event.hint), "text")]]

        def chosen(key: str | None) -> None:
            if key == "d":
                # The failure stays until it is dismissed: it comes back after its details.
                self._show_details(lambda _key: self.show_failure(event))
            elif key == "l":
                self.action_read_log()
            elif key == "r":
                self.action_train()

        self.push_screen(
            dialogs.Card(f"✗ {event.run} {_('failed')}", lines, keys, role="error"), chosen
        )

    def action_failure_details(self) -> None:
        event = self.studio.failure
        if event is None:
            self.notify(_("Nothing has failed."))
            return
        self._show_details(lambda _key: None)

    def _show_details(self, then: Callable[[str | None], None]) -> None:
        event = self.studio.failure
        lines = event.details.splitlines() if event is not None else []
        shown = lines[-(self.size.height - 8) :] or [_("There are no details.")]
        self.push_screen(dialogs.Card(_("Details"), shown, wide=True), then)

    def action_read_log(self) -> None:
        """The library log of the run: what never reached the terminal."""
        from engine.paths import program_log

        live = self.studio.live
        path = program_log()
        run = self.studio.folder_of(live.run) if live is not None else None
        if run is not None and (run / "library.log").is_file():
            path = run / "library.log"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        lines = text.splitlines()[-(self.size.height - 10) :] or [_("The log is empty.")]
        title = middle_cut(str(path), min(self.size.width - 4, 100) - 8)
        self.push_screen(dialogs.Card(title, lines, wide=True))

    def tell(self, problem: Problem, count: int = 1) -> None:
        """A card for bad input: one sentence, where, what to do."""
        lines: list[Any] = [engine_text(problem.what)]
        if problem.where:
            lines += [[], [(engine_text(problem.where), "dim")]]
        if problem.hint:
            lines += [[], engine_text(problem.hint)]
        if count > 1:
            lines += [[], [(f"{count - 1} {_('more faults stand in the form.')}", "dim")]]

        def closed(_key: str | None) -> None:
            if problem.setting:
                self.run_worker(self.go_to_setting(problem.setting), exclusive=False)

        self.push_screen(dialogs.Card(_("This can't be run yet"), lines, role="error"), closed)

    # Leaving

    def action_leave(self) -> None:
        self.run_worker(self._leave(), exclusive=False)

    async def _leave(self) -> None:
        live = self.studio.current
        if live is not None and live.kind != "chat" and not live.ended:
            # Only training has something to save.
            words, way = _("stop it and leave?"), _("stop and leave")
            if live.kind == "train":
                words = _("stop it, save a checkpoint, and leave?")
                way = _("stop, save and leave")
            answer = await self.push_screen_wait(
                dialogs.Question(
                    _("A job is running"),
                    [f"{live.run}: {words}"],
                    [dialogs.Answer("q", way)],
                    role="warning",
                    escape=_("stay"),
                    about=live.run,
                )
            )
            if answer != "q":
                return
            self.notify(_("Saving before leaving …"), timeout=LEAVE_SECONDS)
        self.studio.save_form()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: self.engine.shutdown(True, LEAVE_SECONDS))
        self.exit(0)

    def action_suspend(self) -> None:
        """Ctrl+Z stops the whole process, training too: say so first."""
        live = self.studio.current
        if live is None:
            self.action_suspend_process()
            return

        def answered(key: str | None) -> None:
            if key == "z":
                self.action_suspend_process()

        self.push_screen(
            dialogs.Question(
                _("Put the program to sleep?"),
                [_("The training sleeps too, until fg wakes it.")],
                [dialogs.Answer("z", _("sleep"))],
                role="warning",
                about=live.run,
            ),
            answered,
        )
