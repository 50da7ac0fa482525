"""A set that stands is corrected: the same form as for a new one, over what its entry says now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.problem import Problem
from tui.dialogs.add_set import AddSet, SetForm
from tui.engine_text import engine_text
from tui.language import _
from tui.widgets.form_row import FormRow
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.worker.edit_sets import Draft, Opened
    from engine.worker.new_sets import Found
    from tui.studio import Studio
    from tui.widgets.frame import Line


class EditSet(AddSet):
    """The result is the name that the set has now, or None where nothing was written."""

    can_replace = False

    def __init__(self, studio: Studio, name: str) -> None:
        super().__init__(studio, name, None)
        self.opened: Opened | None = None

    @property
    def heading(self) -> str:
        return _("Edit the set")

    @property
    def verb(self) -> str:
        return _("save it")

    def _read(self) -> None:
        from engine.worker.edit_sets import open_entry

        ask = (self.source, self.studio.config)
        self.studio.ask(self._answer(self._opened), open_entry, *ask, key="make out")

    def _opened(self, opened: Opened) -> None:
        name = self.found.draft.name if self.found is not None else opened.found.draft.name
        draft = replace(opened.found.draft, name=name)
        self.opened = replace(opened, found=replace(opened.found, draft=draft))
        self.found = self.opened.found
        self.call_after_refresh(self._start)

    def _typed_source(self, key: str, text: str) -> None:
        from engine.worker.edit_sets import with_file

        assert self.found is not None and self.opened is not None
        self.fault = ""
        if key == "file":
            if text and text != self._file:
                now = replace(self.opened, found=self.found)
                self.studio.ask(self._answer(self._opened), with_file, now, text, key="make out")
            return
        source = {one: value for one, value in self.found.draft.source.items() if one != key}
        self._put(replace(self.found.draft, source={**source, key: text} if text else source))

    @property
    def _file(self) -> str:
        assert self.opened is not None
        path = self.opened.entry.info.path
        return self.opened.file or (str(path.absolute()) if path is not None else "")

    def _rows(self, found: Found) -> list[FormRow]:
        self.part = {key: str(value) for key, value in found.draft.source.items()}
        return super()._rows(found)

    def _entry_rows(self, draft: Draft) -> list[FormRow]:
        assert self.opened is not None
        samples = thousands(draft.num_samples) if draft.num_samples else _("all")
        typed = str(draft.num_samples or "")
        rows = [FormRow("num_samples", _("random rows of it"), samples, typed=typed)]
        if draft.path is not None:
            shown = visible(Path(self._file).name)
            rows.append(FormRow("file", _("file"), shown, typed=self._file))
        where = visible(str(self.opened.entry.registry))
        told = _("is being written …") if self.writing else "Enter"
        note = _("Only this entry changes; its files and the rest of the list stay.")
        return [
            *rows,
            FormRow("keep", f"{_('stands in')} {where}", "", "note", remark=note),
            FormRow("write", _("Save it"), told, "fold", problem=self.fault),
        ]

    def _lines(self, found: Found, width: int) -> list[Line]:
        if self.opened is None or not self.opened.fault:
            return super()._lines(found, width)
        return [
            [(part, "error")] for part in wrap_cells(visible(engine_text(self.opened.fault)), width)
        ]

    def _usable(self, found: Found) -> str:
        # There are no rows to count where they can't be read.
        return super()._usable(found) if found.look.looked_at else ""

    def _refused(self, problem: Problem) -> None:
        if self.found is not None and problem.setting == "dataset_dir":
            # The file that was typed, or the registry itself.
            self.fault = engine_text(f"{problem.what} {problem.hint}")
            self.query_one(SetForm).select("write")
            return
        super()._refused(problem)

    def action_write(self) -> None:
        from engine.worker.edit_sets import save

        if self.found is None or self.opened is None or self.writing:
            return
        seen = self.found.look
        if seen.looked_at and not seen.usable:
            self.fault = _("None of the rows can be used so: say what its columns are.")
            self.query_one(SetForm).select("write")
            self.draw()
            return
        self.writing, self.fault, self.name_fault = True, "", ""
        self.draw()
        self.studio.ask(self._answer(self._written), save, self.opened, self.found.draft)
