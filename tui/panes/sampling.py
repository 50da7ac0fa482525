"""Sampling for chat and prediction: a small form over the chat, and the system prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from engine.config import applies, format_value, parse_value, settings
from engine.problem import BadInput
from tui.dialogs.dialog import Dialog
from tui.engine_text import engine_text
from tui.language import _
from tui.widgets.form_list import FormList
from tui.widgets.form_row import FormRow

if TYPE_CHECKING:
    from tui.studio import Studio

SYSTEM = "system prompt"
NAMES = ("do_sample", "temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens")


class SamplingForm(FormList):
    """The rows; edited like those of the settings form."""

    BINDINGS: ClassVar = [
        Binding("enter", "edit", "edit", show=False),
        Binding("left", "previous_choice", "choose", show=False),
        Binding("right", "next_choice", "choose", show=False),
        Binding("space", "flip", "switch", show=False),
    ]


class Sampling(Dialog[None]):
    """Changes the studio's generation settings at once; Esc closes."""

    DEFAULT_CSS = """
    Sampling { align: center middle; background: transparent; }
    Sampling > SamplingForm { width: 64; max-width: 100%; height: 13; max-height: 100%; }
    """
    BINDINGS: ClassVar = [Binding("escape", "leave", "close", show=False)]

    def __init__(self, studio: Studio) -> None:
        super().__init__()
        self.studio = studio
        self.form = SamplingForm(_("Sampling"), f"Enter {_('edit')}  Esc {_('close')}")

    def compose(self) -> ComposeResult:
        yield self.form

    def on_mount(self) -> None:
        self._show()
        self.form.focus()

    def _show(self) -> None:
        config = self.studio.config
        faults = {problem.setting: problem.what for problem in reversed(self.studio.problems)}
        rows = [
            FormRow("#", _("How the answer is drawn"), kind="heading"),
        ]
        for name in NAMES:
            info = settings()[name]
            if not applies(config, name):
                continue
            value = getattr(config, name)
            shown = ("x" if value else "") if info.kind == "bool" else format_value(name, value)
            kind = "switch" if info.kind == "bool" else "text"
            fault = engine_text(faults.get(name, ""))
            label = _(info.setting.label)
            rows.append(FormRow(name, label, shown, kind, problem=fault))  # type: ignore[arg-type]
        rows += [
            FormRow("", "", kind="note"),
            FormRow(SYSTEM, _("System prompt"), self.studio.remembered.chat_system or ""),
            FormRow("", _("empty: the model's own"), kind="note"),
        ]
        self.form.set_rows(rows)

    def on_form_list_stepped(self, event: FormList.Stepped) -> None:
        event.stop()
        self.studio.change(event.key, not getattr(self.studio.config, event.key))
        self._show()

    def on_form_list_edited(self, event: FormList.Edited) -> None:
        event.stop()
        if event.key == SYSTEM:
            self.studio.remembered.chat_system = event.text
        else:
            try:
                self.studio.change(event.key, parse_value(event.key, event.text))
            except BadInput as error:
                self.form.show_typed_problem(engine_text(error.problem.what))
                return
        self.form.close_editor()
        self._show()

    def action_leave(self) -> None:
        self.dismiss(None)
