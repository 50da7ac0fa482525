"""Presets, and run descriptions on disk: what fills the whole form at once."""

from __future__ import annotations

from pathlib import Path

from engine.config import (
    applies,
    format_value,
    preset_changes,
    presets,
    settings,
    write_yaml,
)
from engine.problem import BadInput
from tui.dialogs import Answer, AskLine, Pick, Question
from tui.language import _, joined, listed, named
from tui.panes.view import View
from tui.shell import shell
from tui.widgets.list_view import ListRow


class PresetsAndFiles(View):
    """The part of the settings view that takes and gives whole descriptions."""

    def form_changed(self) -> None:
        """Everything derived from the form is looked at again."""
        shell(self).action_form_changed()

    def pick_preset(self) -> None:
        rows = [
            ListRow(name, _(preset.label), mark="✓" if name == self.studio.config.preset else "")
            for name, preset in presets.items()
        ]
        details = {}
        for name, preset in presets.items():
            changes = preset_changes(self.studio.config, name)
            words = listed(
                f"{_(settings()[key].setting.label)} {_shown(key, old)} → {_shown(key, new)}"
                for key, old, new in changes
                if applies(self.studio.config, key)
            )
            details[name] = joined((_(preset.help), named(_("Changes"), words or _("nothing"))))

        def chosen(name: str | None) -> None:
            if name is not None:
                self.studio.take_preset(name)
                self.form_changed()

        self.app.push_screen(Pick(_("Presets"), rows, details=details), chosen)

    def save_yaml(self) -> None:
        def typed(text: str | None) -> None:
            if text:
                self.app.run_worker(self._write(Path(text).expanduser()), exclusive=False)

        note = _("finetui train FILE runs it without a screen")
        self.app.push_screen(AskLine(_("Write the settings to"), "finetui.yaml", note), typed)

    async def _write(self, path: Path) -> None:
        from engine.runs.atomic import write_atomic

        if path.exists():
            answer = await self.app.push_screen_wait(
                Question(
                    _("The file exists"),
                    [str(path)],
                    [Answer("w", _("write over it"))],
                    role="warning",
                )
            )
            if answer != "w":
                return
        try:
            write_atomic(path, write_yaml(self.studio.config))
        except OSError as error:
            self.app.notify(f"{path}: {error.strerror or error}", severity="error")
            return
        self.app.notify(named(_("Written"), str(path)))

    def load_yaml(self) -> None:
        def typed(text: str | None) -> None:
            if text:
                self._read(Path(text).expanduser())

        self.app.push_screen(AskLine(_("Read settings from"), "", _("a YAML or JSON file")), typed)

    def _read(self, path: Path) -> None:
        from engine.worker.questions import load_yaml

        try:
            config, notes = load_yaml(path)
        except BadInput as error:
            shell(self).tell(error.problem)
            return
        self.studio.take_over(config)
        self.studio.read_datasets()
        self.studio.choose_model(config.model_name_or_path or "demo")
        for note in notes:
            self.studio.notes.append(note)
        self.form_changed()
        self.app.notify("\n".join(notes[:4]) or named(_("Read"), str(path)))


def _shown(name: str, value: object) -> str:
    return format_value(name, value) or "–"
