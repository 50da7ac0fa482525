"""Choosing a model for a setting that names one, out of the runs and models that are here."""

from __future__ import annotations

from collections.abc import Iterator

from tui.dialogs import Pick
from tui.language import _
from tui.panes.settings_files import PresetsAndFiles
from tui.widgets.list_view import ListRow

# The settings that name a model or an adapter.
_ADAPTERS = ("adapter_name_or_path", "ref_model_adapters")
_MODELS = ("ref_model", "teacher_model")
MODEL_SETTINGS = ("reward_model", *_MODELS, *_ADAPTERS)

# A row of the list: what it says, what stands at its right, and the settings that it gives.
Choice = tuple[str, tuple[str, ...], dict[str, str]]


class ModelPicks(PresetsAndFiles):
    """The part of the settings view that offers runs and models instead of typing their paths."""

    def choices_of(self, name: str) -> list[Choice]:
        """What may be chosen for the setting `name`, the newest first."""
        return list(self._choices(name)) if name in MODEL_SETTINGS else []

    def _choices(self, name: str) -> Iterator[Choice]:
        studio = self.studio
        if name in _MODELS:
            for model in studio.models:
                if not model.scores:
                    yield model.label, (), {name: model.name}
        for source in studio.run_sources_now():
            if name == "reward_model" and source.scores:
                kind = "lora" if source.adapter else "full"
                given = {name: source.adapter or source.model, "reward_model_type": kind}
                yield source.label, source.marks[-1:] if source.best else (), given
            elif name in _ADAPTERS and source.adapter and not source.scores:
                yield source.label, source.marks, {name: source.adapter}
            elif name in _MODELS and not source.adapter and not source.scores:
                yield source.label, source.marks, {name: source.model}

    def pick_model(self, name: str) -> None:
        """Offer the choices for a setting; without any, say what makes one."""
        found = self.choices_of(name)
        if not found:
            words = _("There is nothing to choose from yet; Enter types a name or folder.")
            if name == "reward_model":
                words = _("No run of stage rm yet: train one first, or press Enter and type.")
            self.app.notify(words)
            return
        rows = [ListRow(str(n), label, figures) for n, (label, figures, _given) in enumerate(found)]

        def chosen(key: str | None) -> None:
            if key is not None:
                self.studio.change_many(dict(found[int(key)][2]))
                self.form_changed()

        self.app.push_screen(Pick(_("Which model"), rows), chosen)
