"""The settings form, generated from the declarations: basic and all, help, and the live line."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget

from engine.config import (
    applies,
    format_value,
    parse_value,
    sections,
    settings,
    steps_of,
)
from engine.problem import BadInput
from tui.actions import bindings
from tui.dialogs import AskLine
from tui.engine_text import engine_text
from tui.language import _, listed, named
from tui.panes.model_picks import MODEL_SETTINGS, ModelPicks
from tui.panes.setting_help import help_lines
from tui.panes.setting_rows import FormState, Level, form_rows, found_rows
from tui.shell import shell
from tui.widgets.form_list import FormList
from tui.widgets.form_row import FormRow
from tui.widgets.frame import Line
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import about, compact, thousands

if TYPE_CHECKING:
    from tui.studio import Studio


class SettingsForm(FormList):
    """The list itself."""

    scope = "form"
    BINDINGS: ClassVar = bindings("form")

    def hand_on(self, method: str) -> None:
        node = self.parent
        while node is not None and not isinstance(node, SettingsView):
            node = node.parent
        if node is not None:
            getattr(node, method)()

    def action_default(self) -> None:
        self.hand_on("to_default")

    def action_undo(self) -> None:
        self.hand_on("undo")

    def action_filter(self) -> None:
        self.hand_on("begin_search")

    def action_level(self) -> None:
        self.hand_on("next_level")

    def action_preset(self) -> None:
        self.hand_on("pick_preset")

    def action_choose_model(self) -> None:
        self.hand_on("choose_model")

    def action_save_yaml(self) -> None:
        self.hand_on("save_yaml")

    def action_load_yaml(self) -> None:
        self.hand_on("load_yaml")


# Rows of the live lines with their frame; up to two more where they need them.
OUTCOME_ROWS = 4


class SettingsView(ModelPicks):
    """Every setting that applies to the chosen stage and method."""

    home = "settings"
    DEFAULT_CSS = """
    SettingsView #form-row { height: 1fr; }
    SettingsView SettingsForm { width: 1fr; }
    SettingsView #help { width: 34; }
    SettingsView.wide #help { width: 56; }
    SettingsView.narrow #help { display: none; }
    SettingsView #outcome { height: 4; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-settings")
        self.form = SettingsForm(_("Settings"), empty=_("No setting has that in its name."))
        self.help = LinesPanel("", id="help")
        self.outcome = LinesPanel("", id="outcome")
        self.help.can_focus = self.outcome.can_focus = False
        self.level: Level = "basic"
        self.filter = ""
        self.opened: set[str] = set()
        self._narrow = False
        self._idle: frozenset[str] = frozenset({"form.choose"})
        # What a change of stage changed too, for as long as the form stays so.
        self._stage_note: tuple[object, str] = (None, "")

    def compose(self) -> ComposeResult:
        with Horizontal(id="form-row"):
            yield self.form
            yield self.help
        yield self.outcome

    def entry(self) -> Widget:
        return self.form

    def fit(self, narrow: bool, wide: bool) -> None:
        self._narrow = narrow
        self.set_class(narrow, "narrow")
        self.set_class(wide, "wide")
        self.outcome.border = "rule" if narrow else "box"

    def step_back(self) -> bool:
        if not self.filter:
            return False
        self.filter = ""
        return True

    # Drawing

    def show(self) -> None:
        title = _("Settings")
        self.form.set_title(
            f"{title}   / {self.filter}" if self.filter else f"{title}   / {_('filter')}"
        )
        basic = self.level == "basic"
        self.form.set_figure(
            [
                (_("basic"), "accent" if basic else "dim"),
                (" · ", "dim"),
                (_("all"), "dim" if basic else "accent"),
            ]
        )
        self.form.set_rows(self._rows())
        self._show_help()
        self._show_outcome()

    def _rows(self) -> list[FormRow]:
        studio = self.studio
        config = studio.config
        remarks = {"stage": self._stage_note[1]} if config is self._stage_note[0] else {}
        faults = {problem.setting: problem for problem in studio.problems if problem.setting}
        state = FormState(config, faults, studio.changed(), remarks)
        if self.filter:
            return found_rows(state, self.filter)
        return form_rows(state, self.level, self.opened)

    def _show_help(self) -> None:
        key = self.form.cursor_key
        info = settings().get(key)
        if info is None:
            self.help.set_title(_("Help"))
            self.help.set_lines([])
            return
        self.help.set_title(_(info.setting.label))
        width = max(16, self.help.content_width - 2)
        studio = self.studio
        self.help.set_lines(
            help_lines(studio.config, studio.base(), key, width, studio.card, studio.rows)
        )

    def _show_outcome(self) -> None:
        studio = self.studio
        config = studio.config
        rows = studio.rows
        first = _("No data is chosen: press 2, then space on a set.")
        if rows is None and studio.chosen:
            first = _("The rows are counted when the run reads them.")
            if studio.steps is not None:
                first = (
                    f"{thousands(studio.steps.total)} {_('steps')} · "
                    f"{_('warm-up')} {thousands(studio.steps.warmup)} · {first}"
                )
        if rows is not None:
            steps = steps_of(rows, config)
            micro, pile = config.per_device_train_batch_size, config.gradient_accumulation_steps
            taken = studio.packing_words() or f"{thousands(rows)} {_('rows')}"
            first = (
                f"{taken} × {_('{count} epochs').format(count=f'{config.num_train_epochs:g}')} ÷ "
                f"({micro} × {pile}) ≈ {thousands(steps.total)} {_('steps')}"
                f" · {_('warm-up')} {thousands(steps.warmup)}"
            )
        lines = [first]
        forecast = studio.forecast
        if rows is not None and forecast is not None:
            words = (
                f"{compact(forecast.trainable_parameters)} {_('of')} "
                f"{compact(forecast.parameters)} {_('parameters')}"
            )
            if cell_len(first) + cell_len(words) + 3 <= self.outcome.content_width - 2:
                lines = [f"{first} · {words}"]
            else:
                lines = [first, words]
        told: list[Line] = [[(line, "text")] for line in lines]
        if studio.problems:
            told.append([(engine_text(studio.problems[0].what), "error")])
        elif len(lines) == 1:
            told.append([(self._memory_words(), "text")])
        else:
            told[-1] = [(f"{lines[-1]} · {self._memory_words()}", "text")]
        self.outcome.set_wrapped(told)
        # The narrow one has an edge less.
        edges = 1 if self.outcome.border == "rule" else 2
        self.outcome.styles.height = max(
            OUTCOME_ROWS, min(self.outcome.line_count + edges, OUTCOME_ROWS + 2)
        )

    def _memory_words(self) -> str:
        studio = self.studio
        words = " · ".join(w for w in (studio.memory_words(), studio.disk_words()) if w)
        if studio.steps is not None:
            seconds = studio.seconds_per_run(studio.steps.total)
            if seconds is not None:
                told = _("about {time} on this machine").format(time=about(seconds))
                words += f"   {told}"
        return words

    # Editing

    def go_to(self, name: str) -> None:
        """Bring a setting under the cursor, opening what hides it."""
        if name not in settings():
            return
        self.filter = ""
        self.opened.add(settings()[name].setting.section)
        if not any(name in section.rows for section in sections(self.studio.config, self.level)):
            self.level = "all"
        self.show()
        self.form.select(name)

    def on_form_list_highlighted(self, event: FormList.Highlighted) -> None:
        event.stop()
        self._show_help()
        if self.idle() != self._idle:
            # The bottom line has a key more, or one less.
            self._idle = self.idle()
            shell(self).show()

    def on_form_list_opened(self, event: FormList.Opened) -> None:
        event.stop()
        if event.key.startswith("§"):
            name = event.key[1:]
            self.opened.add(name)
            self.show()
            first = next((s.rows[0] for s in sections(self.studio.config, self.level)
                          if s.name == name and s.rows), "")  # fmt: skip
            self.form.select(first)

    def on_form_list_typing(self, event: FormList.Typing) -> None:
        event.stop()
        try:
            parse_value(event.key, event.text)
        except BadInput as error:
            self.form.show_typed_problem(engine_text(error.problem.what))
        else:
            self.form.show_typed_problem("")

    def on_form_list_edited(self, event: FormList.Edited) -> None:
        event.stop()
        try:
            value = parse_value(event.key, event.text)
            self.studio.change(event.key, value)
        except BadInput as error:
            # What was typed stays in the editor, with the reason below it.
            self.form.show_typed_problem(engine_text(error.problem.what))
            return
        self.form.close_editor()
        self.form_changed()

    def on_form_list_stepped(self, event: FormList.Stepped) -> None:
        event.stop()
        info = settings()[event.key]
        value = getattr(self.studio.config, event.key)
        try:
            if info.kind == "bool" and not info.optional:
                self.studio.change(event.key, not value)
            else:
                choices: list[object] = [True, False] if info.kind == "bool" else list(info.choices)
                if info.optional:
                    choices.insert(0, None)
                place = choices.index(value) if value in choices else -1
                then = choices[(place + (event.by or 1)) % len(choices)]
                if event.key == "stage":
                    self._change_stage(str(then))
                else:
                    self.studio.change(event.key, then)
        except BadInput as error:
            self.app.notify(error.problem.what, severity="error")
            return
        self.form_changed()

    def _change_stage(self, stage: str) -> None:
        """Another stage brings its first values: they are told below its row."""
        moved = self.studio.change_stage(stage)
        told = [
            f"{_(settings()[name].setting.label)} {format_value(name, value) or '–'}"
            for name, value in moved.items()
            if applies(self.studio.config, name) or name == "dataset"
        ]
        words = named(_("With it"), listed(told)) if told else ""
        self._stage_note = (self.studio.config, words)

    def to_default(self) -> None:
        key = self.form.cursor_key
        if key in settings():
            self.studio.change(key, getattr(self.studio.base(), key))
            self.form_changed()

    def choose_model(self) -> None:
        key = self.form.cursor_key
        if key in MODEL_SETTINGS:
            self.pick_model(key)

    def idle(self) -> frozenset[str]:
        offers = self.form.cursor_key in MODEL_SETTINGS
        return frozenset() if offers else frozenset({"form.choose"})

    def undo(self) -> None:
        if self.studio.undo():
            self.form_changed()
        else:
            self.app.notify(_("There is nothing to undo."))

    def begin_search(self) -> None:
        def typed(text: str | None) -> None:
            if text is not None:
                self.filter = text.strip()
                self.show()

        note = _("part of a name; empty shows all again")
        self.app.push_screen(AskLine(_("Filter settings"), self.filter, note), typed)

    def next_level(self) -> None:
        self.level = "all" if self.level == "basic" else "basic"
        self.show()
