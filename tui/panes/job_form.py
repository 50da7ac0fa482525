"""A short form for a job: which model, a few settings, and a key that starts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from engine.config import RunConfig, format_value, parse_value, settings, with_value
from engine.problem import BadInput, Problem
from tui.actions import bindings
from tui.dialogs import Pick
from tui.engine_text import engine_text
from tui.language import _, joined, listed, named, sentence
from tui.panes.view import View
from tui.shell import shell
from tui.sources import Source
from tui.widgets.form_list import FormList
from tui.widgets.form_row import FormRow
from tui.widgets.list_view import ListRow

if TYPE_CHECKING:
    from tui.studio import Studio

MODEL_KEY = "model"


class JobForm(FormList):
    """The rows of a job's form; what they do is the view's."""

    scope = "values"
    BINDINGS: ClassVar = bindings("values")


class JobView(View):
    """A view whose upper part is a form over `values`, settings of its own job.

    They start from the form of the next run and are kept while the screen is open; they never
    change the next run itself.
    """

    # Values that may have come from the form of the next run without being checked here.
    checked: Sequence[str] = ()

    def __init__(self, studio: Studio, *, id: str) -> None:
        super().__init__(studio, id=id)
        self.source: Source | None = None
        self.values: dict[str, Any] = {}
        self.faults: dict[str, str] = {}

    def form_panel(self) -> JobForm:
        raise NotImplementedError

    def action_start(self) -> None:
        self.start()

    def action_pick(self) -> None:
        self.pick_source()

    def start(self) -> None:
        raise NotImplementedError

    # The model

    def sources(self) -> list[Source]:
        return self.studio.sources()

    def chosen(self) -> Source | None:
        """The model that was picked; before that the newest run's result, else the base."""
        if self.source is not None:
            return self.source
        found = self.sources()
        return found[min(1, len(found) - 1)] if found else None

    def pick_source(self) -> None:
        found = self.sources()
        rows = [
            ListRow(str(number), source.label, source.marks) for number, source in enumerate(found)
        ]

        def picked(key: str | None) -> None:
            if key is not None:
                self.source = found[int(key)]
                self.source_changed()
                self.show()

        self.app.push_screen(Pick(_("Which model"), rows, empty=_("There is no run yet.")), picked)

    def source_changed(self) -> None:
        """Another model was chosen."""

    def config_for(self, source: Source, extra: dict[str, Any]) -> RunConfig:
        """The job's run description. Raises BadInput."""
        config = with_value(self.studio.config, "model_name_or_path", source.model)
        config = with_value(config, "adapter_name_or_path", source.adapter or None)
        if source.adapter:
            config = with_value(config, "finetuning_type", "lora")
        for name, value in {**self.values, **extra}.items():
            config = with_value(config, name, value)
        return config

    # The rows

    def model_row(self) -> FormRow:
        source = self.chosen()
        return FormRow(MODEL_KEY, _("Model"), source.label if source else "–", "fold")

    def setting_row(self, name: str) -> FormRow:
        info = settings()[name]
        value = self.values.get(name)
        kind, shown = "text", format_value(name, value)
        if info.kind == "bool":
            kind, shown = "switch", "x" if value else ""
        elif info.kind == "choice":
            kind = "choice"
        return FormRow(
            name,
            _(info.setting.label),
            shown,
            kind,  # type: ignore[arg-type]
            problem=self.faults.get(name, ""),
            typed="" if value is None else None,
        )

    def on_form_list_opened(self, event: FormList.Opened) -> None:
        event.stop()
        if event.key == MODEL_KEY:
            self.pick_source()

    def on_form_list_edited(self, event: FormList.Edited) -> None:
        event.stop()
        fault = self.fault_of(event.key, event.text)
        if fault:
            self.form_panel().show_typed_problem(fault)
            return
        self.values[event.key] = parse_value(event.key, event.text)
        self.form_panel().close_editor()
        self.show()

    def on_form_list_typing(self, event: FormList.Typing) -> None:
        event.stop()
        self.form_panel().show_typed_problem(self.fault_of(event.key, event.text))

    def fault_of(self, name: str, text: str) -> str:
        """What is wrong with a typed value, in a sentence; empty where nothing is."""
        try:
            value = parse_value(name, text)
        except BadInput as error:
            return engine_text(error.problem.what)
        if name != "eval_dataset":
            return ""
        known = [entry.name for entry in self.studio.datasets]
        names = [one.strip() for one in str(value or "").split(",") if one.strip()]
        strangers = [one for one in names if one not in known]
        if not names:
            return sentence(named(_("Name a set"), listed(known)))
        if strangers and known:
            stranger = sentence(f"{_('There is no set named')} {strangers[0]}")
            return joined((stranger, sentence(named(_("Known"), listed(known)))))
        return ""

    def on_form_list_stepped(self, event: FormList.Stepped) -> None:
        event.stop()
        self.step_value(event.key, event.by)
        self.show()

    def step_value(self, key: str, by: int) -> None:
        info = settings()[key]
        value = self.values.get(key)
        if info.kind == "bool":
            self.values[key] = not value
        else:
            choices = list(info.choices)
            self.values[key] = choices[(choices.index(str(value)) + by) % len(choices)]

    def submit(self, make: Callable[[RunConfig], Any], kind: str, extra: dict[str, Any]) -> str:
        """Hand the job in; returns its run id, or an empty text where something is wrong."""
        from engine.config import check

        source = self.chosen()
        self.faults = {}
        for name in self.checked:
            fault = self.fault_of(name, format_value(name, self.values.get(name)))
            if fault:
                self.faults[name] = fault
        if self.faults:
            self.show()
            self.form_panel().select(next(iter(self.faults)))
            return ""
        if source is None:
            shell(self).tell(
                Problem(_("There is no model for this yet."), hint=_("Train one first: t."))
            )
            return ""
        try:
            config = self.config_for(source, extra)
        except BadInput as error:
            shell(self).tell(error.problem)
            return ""
        problems = check(config, "export" if kind == "export" else "")
        if problems:
            shell(self).tell(problems[0], len(problems))
            return ""
        return self.studio.submit(make(config), kind).run
