"""Sets that a person adds: a file is chosen, looked at, and written into a registry."""

from __future__ import annotations

from pathlib import Path

from tui.language import _
from tui.shell import Shell


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
        self.studio.read_datasets()
        self.action_form_changed()
        self.rail.data.select(name)
        self.show()
        self.notify(f"{name} {_('is among the sets now; space uses it.')}")

    def _dataset_folder(self) -> Path | None:
        """The dataset folder on disk that is chosen; None for a hub's."""
        from engine.paths import default_dataset_dir

        given = self.studio.config.dataset_dir
        if given is None:
            return default_dataset_dir()
        if given == "ONLINE" or given.startswith("REMOTE:"):
            return None
        return Path(given).expanduser()
