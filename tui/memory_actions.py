"""What a person does about memory: take a change that fits, or go on after it ran out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config import RunConfig, with_value
from engine.problem import BadInput
from tui.dialogs import Answer, Pick, Question
from tui.engine_text import engine_text
from tui.job_actions import JobActions
from tui.language import _
from tui.widgets.list_view import ListRow
from tui.widgets.numbers import memory

if TYPE_CHECKING:
    from engine.events import JobFailed


class MemoryActions(JobActions):
    """Mixed into the app: the actions on jobs, and these."""

    def action_take_advice(self) -> None:
        self.run_worker(self._take_advice(), exclusive=False)

    async def _take_advice(self) -> None:
        studio = self.studio
        forecast = studio.forecast
        if forecast is None:
            self.notify(_("The model is not known yet."))
            return
        if not studio.advice:
            self.notify(
                _("The run fits into memory.")
                if forecast.fits
                else _("No change of settings makes it fit: a smaller model does.")
            )
            return
        rows = [
            ListRow(str(number), engine_text(one.change), (memory(one.forecast.total),))
            for number, one in enumerate(studio.advice)
        ]
        details = {str(number): engine_text(one.cost) for number, one in enumerate(studio.advice)}
        title = f"{_('To fit into')} {(studio.device_memory() or 0) / 2**30:.0f} GB"
        picked = await self.push_screen_wait(Pick(title, rows, details=details))
        if picked is None:
            return
        config = studio.config
        for name, value in studio.advice[int(picked)].settings.items():
            config = with_value(config, name, value)
        studio.take_over(config)
        self.action_form_changed()

    def offer_smaller(self, event: JobFailed) -> None:
        """Memory ran out: go on from the last checkpoint with a smaller micro-batch?"""
        self.studio.failure = event
        smaller = event.smaller
        batch, pile = (
            smaller["per_device_train_batch_size"],
            smaller["gradient_accumulation_steps"],
        )
        lines = [
            engine_text(event.what),
            "",
            f"{_('Go on from the last checkpoint with micro-batch')} {batch} "
            f"{_('and accumulation')} {pile}? {_('The rows of an update stay the same.')}",
        ]
        answers = [Answer("g", _("go on")), Answer("d", _("details"))]

        def answered(key: str | None) -> None:
            if key == "g":
                self.run_worker(self._go_on_smaller(event), exclusive=False)
            elif key == "d":
                self.action_failure_details()

        title = f"{event.run} {_('ran out of memory')}"
        self.push_screen(Question(title, lines, answers, role="error"), answered)

    async def _go_on_smaller(self, event: JobFailed) -> None:
        config: RunConfig = self.studio.trained[event.run]
        try:
            for name, value in event.smaller.items():
                config = with_value(config, name, value)
        except BadInput as error:
            self.tell(error.problem)
            return
        await self.start_training(config)
