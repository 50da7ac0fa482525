"""The next run as the form holds it: its settings, their undoing, what differs, what is wrong."""

from __future__ import annotations

import contextlib
from typing import Any

from engine.config import (
    RunConfig,
    apply_preset,
    apply_stage,
    check,
    defaults_for_form,
    form_base,
    preset_of,
    presets,
    settings,
    to_flat,
    with_value,
    written_settings,
)
from engine.problem import BadInput, Problem
from tui.engine_text import engine_text
from tui.language import _, named
from tui.remembered import Remembered, remember


class NextRun:
    """One run description, changed value by value; every change is checked at once."""

    def __init__(self, remembered: Remembered) -> None:
        self.remembered = remembered
        self.notes: list[str] = []
        self.problems: list[Problem] = []
        self.config = self._first_config()
        self._undo: list[RunConfig] = []
        self._saved_form: dict[str, Any] | None = None
        # What the form was compared with last, and what came of it: the screen asks every second.
        self._compared: tuple[RunConfig, set[str], str] | None = None

    def _first_config(self) -> RunConfig:
        """The form as it stood last time; where that no longer reads, the first-start form."""
        if self.remembered.form:
            # What finetui wrote itself needs no table of other tools' keys, which costs the first
            # frame a little; what another version wrote does.
            with contextlib.suppress(BadInput):
                return written_settings(self.remembered.form)
            from engine.config import read_flat

            try:
                return read_flat(self.remembered.form, "the remembered form").config
            except BadInput as error:
                why = engine_text(error.problem.what)
                self.notes.append(named(_("The remembered form could not be used"), why))
        return defaults_for_form()

    def change(self, name: str, value: Any) -> None:
        """Set one setting; raises BadInput where the value can't be taken."""
        config = with_value(self.config, name, value)
        self._take(config)

    def change_many(self, values: dict[str, Any]) -> None:
        config = self.config
        for name, value in values.items():
            config = with_value(config, name, value)
        self._take(config)

    def change_stage(self, stage: str) -> dict[str, Any]:
        """Go to another stage, with its first values; returns what else that changed."""
        before = self.config
        self._take(apply_stage(before, stage))
        return {
            name: getattr(self.config, name)
            for name in settings()
            if name != "stage" and getattr(self.config, name) != getattr(before, name)
        }

    def take_over(self, config: RunConfig) -> None:
        """Take a whole run description (a file's, a run's) into the form."""
        self._take(config)

    def undo(self) -> bool:
        if not self._undo:
            return False
        self.config = self._undo.pop()
        self.check_form()
        return True

    def _take(self, config: RunConfig) -> None:
        if config == self.config:
            return
        self._undo = [*self._undo[-50:], self.config]
        self.config = config
        self.check_form()

    def check_form(self) -> None:
        self.problems = check(self.config)

    def save_form(self) -> None:
        """Remember the form if it changed since it was last written."""
        form = to_flat(self.config)
        if form != self._saved_form:
            self._saved_form = form
            self.remembered.form = form
            fault = remember(self.remembered)
            if fault:
                self.notes.append(fault)

    def base(self) -> RunConfig:
        """What "changed" is measured against: the stage's form before any preset."""
        return form_base(self.config.stage, self.config.finetuning_type)

    def changed(self) -> set[str]:
        """The settings shown in a form that differ from the form's own start."""
        return self._comparison()[0]

    def _comparison(self) -> tuple[set[str], str]:
        """What `changed` and `preset_label` tell of the present form."""
        if self._compared is None or self._compared[0] is not self.config:
            base = self.base()
            changed = {
                name
                for name, info in settings().items()
                if info.setting.level != "hidden"
                and getattr(self.config, name) != getattr(base, name)
            }
            self._compared = (self.config, changed, preset_of(self.config))
        return self._compared[1:]

    def preset_label(self) -> str:
        """The preset whose values all stand in the form; empty where none does."""
        name = self._comparison()[1]
        return _(presets[name].label).lower() if name in presets else ""

    def take_preset(self, name: str) -> None:
        self._take(apply_preset(self.config, name))

    @property
    def chosen(self) -> list[str]:
        """The dataset names that the next run uses, in order."""
        return [name.strip() for name in (self.config.dataset or "").split(",") if name.strip()]

    def toggle_dataset(self, name: str) -> None:
        names = self.chosen
        names = [one for one in names if one != name] if name in names else [*names, name]
        self.change("dataset", ",".join(names) or None)
