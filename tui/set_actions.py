"""Sets that a person adds, corrects and takes off the list; all of it is written to a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.problem import BadInput
from tui import dialogs
from tui.engine_text import engine_text
from tui.language import _
from tui.shell import Shell
from tui.widgets.text_safe import visible

if TYPE_CHECKING:
    from engine.worker.edit_sets import Entry


class SetActions(Shell):
    """Mixed into the app."""

    def action_add_set(self) -> None:
        """Choose a file and make a set of it; Esc leaves at any point."""
        self.run_worker(self._add_set(), exclusive=False)

    async def _add_set(self) -> None:
        from tui.dialogs.add_set import AddSet
        from tui.dialogs.choose_file import ChooseFile

        folder = self._dataset_folder()
        source = await self.push_screen_wait(ChooseFile(self.studio))
        if source is None:
            return
        name = await self.push_screen_wait(AddSet(self.studio, source, folder))
        if name is None:
            return
        self._sets_changed(name)
        self.notify(f"{visible(name)} {_('is among the sets now; space uses it.')}")

    def action_edit_set(self) -> None:
        """Correct the set under the cursor; of a bundled one, a copy."""
        self.run_worker(self._edit_set(), exclusive=False)

    async def _edit_set(self) -> None:
        from tui.dialogs.edit_set import EditSet

        entry = self._entry()
        if entry is None:
            return
        name = entry.name
        if entry.bundled:
            copied = await self._copied(entry)
            if copied is None:
                return
            name = copied
        else:
            try:
                assert entry.info
            except BadInput as error:
                await self._offer_removal(entry, error)
                return
        now = await self.push_screen_wait(EditSet(self.studio, name))
        if now is None:
            return
        chosen = self.studio.chosen
        if now != name and name in chosen:
            names = [now if one == name else one for one in chosen]
            self.studio.change("dataset", ",".join(names))
        self._sets_changed(now)
        self.notify(f"{visible(now)} {_('is saved.')}")

    def action_remove_set(self) -> None:
        """Take the set under the cursor off the list, after a question."""
        self.run_worker(self._remove_set(), exclusive=False)

    async def _remove_set(self) -> None:
        entry = self._entry()
        if entry is None:
            return
        if entry.bundled:
            await self.push_screen_wait(
                dialogs.Card(entry.name, [_("It is a bundled set: those always stay on the list.")])
            )
            return
        where = str(entry.registry)
        lines = [
            _("Its entry is taken out of {file}.").format(file=where),
            _("Its files stay where they are, and so does all else in that list."),
        ]
        await self._ask_removal(entry, lines)

    async def _offer_removal(self, entry: Entry, error: BadInput) -> None:
        """An entry that can't even be read: it is mended in its file, or taken out."""
        problem = error.problem
        lines = [engine_text(problem.what), problem.where, engine_text(problem.hint), ""]
        told = _("The form can't show it as it is. Mend it in that file, or take the entry out.")
        await self._ask_removal(entry, [*lines, told])

    async def _ask_removal(self, entry: Entry, lines: list[str]) -> None:
        from engine.worker.edit_sets import remove

        title = f"{_('Take off the list')}   {visible(entry.name)}"
        answers = [dialogs.Answer("y", _("take it off"))]
        question = dialogs.Question(title, lines, answers, role="warning")
        if await self.push_screen_wait(question) != "y":
            return
        try:
            remove(entry)
        except BadInput as error:
            self.tell(error.problem)
            return
        if entry.name in self.studio.chosen:
            self.studio.toggle_dataset(entry.name)
        self._sets_changed("")
        self.notify(f"{visible(entry.name)} {_('is off the list; its files are where they were.')}")

    async def _copied(self, entry: Entry) -> str | None:
        """Copy a bundled set under a name that is asked for; None where Esc was pressed."""
        from engine.worker.edit_sets import copy
        from engine.worker.new_sets import free_name, name_fault

        taken = {one.name for one in self.studio.datasets}
        lines = [
            _("It is a bundled set: those are never changed."),
            _("A copy of it and its file among your own sets can be."),
        ]
        answers = [dialogs.Answer("c", _("copy to my sets"))]
        if await self.push_screen_wait(dialogs.Question(entry.name, lines, answers)) != "c":
            return None

        def check(text: str) -> str:
            if text.strip() in taken:
                return _("There is such a set already.")
            return _(name_fault(text.strip()))

        line = dialogs.AskLine(
            _("What the copy is called"), free_name(f"my_{entry.name}", taken), "", check
        )
        name = await self.push_screen_wait(line)
        if name is None:
            return None
        try:
            copy(entry, name.strip(), self.studio.config)
        except BadInput as error:
            self.tell(error.problem)
            return None
        self._sets_changed(name.strip())
        return name.strip()

    def _entry(self) -> Entry | None:
        """What the registry says of the set under the cursor; a card where it can't be had."""
        from engine.worker.edit_sets import entry_of

        row = self.rail.data.cursor_row
        if row is None:
            return None
        try:
            return entry_of(row.key, self.studio.config)
        except (BadInput, OSError) as error:
            from engine.problem import Problem

            self.tell(error.problem if isinstance(error, BadInput) else Problem(str(error)))
            return None

    def _sets_changed(self, name: str) -> None:
        self.studio.read_datasets()
        self.action_form_changed()
        if name:
            self.rail.data.select(name)
        self.show()

    def _dataset_folder(self) -> Path | None:
        """The dataset folder on disk that is chosen; None for a hub's."""
        from engine.paths import default_dataset_dir

        given = self.studio.config.dataset_dir
        if given is None:
            return default_dataset_dir()
        if given == "ONLINE" or given.startswith("REMOTE:"):
            return None
        return Path(given).expanduser()
