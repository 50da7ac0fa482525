"""A file or folder of rows to choose: a path that is typed, and what there is below it."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from tui.dialogs.pick import Detail
from tui.dialogs.typed_list import TypedList
from tui.language import _
from tui.shell import shell
from tui.widgets.list_view import ListPanel, ListRow
from tui.widgets.numbers import size

if TYPE_CHECKING:
    from textual.widgets import Input

    from tui.studio import Studio

Choices = tuple[Path, list[Path]]
WHOLE = "."
_HUBS = ("hf:", "ms:", "s3://", "gs://", "gcs://")


class ChooseFile(TypedList):
    """The result is a path, or the name of a hub's set as it was typed; None where Esc was pressed.

    The list shows what begins as was typed; Tab completes, Enter goes into a folder.
    """

    DEFAULT_CSS = "ChooseFile ListPanel { height: 12; }"
    BINDINGS: ClassVar = [Binding("tab", "complete", "complete", show=False, priority=True)]

    def __init__(self, studio: Studio, begin: str = "") -> None:
        super().__init__()
        self.studio = studio
        self._begin = begin
        self._paths: dict[str, Path] = {}

    def compose(self) -> ComposeResult:
        from textual.widgets import Input

        with Vertical():
            yield self.list_panel(_("Which file"), _("No files of rows begin so."))
            yield Detail([], 2)
            yield Input(self._begin, placeholder=_("a path, or hf:org/name, ms:org/name, s3://…"),
                        compact=True)  # fmt: skip

    def on_mount(self) -> None:
        self._fit()
        self._say(_("Tab completes, Enter opens a folder or takes the file, Esc leaves."))
        line = self._line
        line.focus()
        line.cursor_position = len(line.value)
        self._look()

    def _fit(self) -> None:
        height = max(6, min(16, self.app.size.height - 5))
        self.query_one(ListPanel).styles.height = height

    @property
    def _line(self) -> Input:
        from textual.widgets import Input

        return self.query_one(Input)

    def _say(self, text: str) -> None:
        detail = self.query_one(Detail)
        detail.text = text
        detail.picture_changed()

    # What there is

    def _look(self) -> None:
        from engine.worker.new_sets import choices_in

        text = self._line.value.strip()
        if text.startswith(_HUBS):
            self._paths = {}
            self.query_one(ListPanel).set_rows(())
            self._say(_("Enter fetches it and shows what it holds."))
            return

        def answered(future: Future[Choices]) -> None:
            shell(self).call_from_thread_later(self._take, future, text)

        self.studio.ask(answered, choices_in, text, key="choose file")

    def _take(self, future: Future[Choices], text: str) -> None:
        try:
            folder, items = future.result()
        except CancelledError:
            return
        if not self.is_attached or text != self._line.value.strip():
            return  # something else was typed since
        rows: list[ListRow] = []
        self._paths = {}
        if any(item.is_file() for item in items) and (not text or text.endswith("/")):
            self._paths[WHOLE] = folder
            rows.append(ListRow(WHOLE, _("the whole folder as one set"), dim=False))
        for item in items:
            key = str(item)
            self._paths[key] = item
            figure = size(item.stat().st_size) if item.is_file() else ""
            name = item.name + ("" if figure else "/")
            rows.append(ListRow(key, name, (figure,) if figure else ()))
        panel = self.query_one(ListPanel)
        panel.set_rows(rows)
        first_file = next((row.key for row in rows if row.key != WHOLE), "")
        panel.select(first_file)
        panel.set_figure(str(folder))

    # Keys

    def on_input_changed(self, _event: Input.Changed) -> None:
        self._look()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._choose()

    def _choose(self) -> None:
        text = self._line.value.strip()
        if text.startswith(_HUBS):
            self.dismiss(text)
            return
        row = self.query_one(ListPanel).cursor_row
        typed = Path(text).expanduser()
        if text and typed.is_file():
            self.dismiss(str(typed))
        elif row is None:
            self._say(_("There is no such file."))
        elif row.key == WHOLE:
            self.dismiss(str(self._paths[WHOLE]))
        elif self._paths[row.key].is_dir():
            self._set(f"{row.key}/")
        else:
            self.dismiss(row.key)

    def on_list_panel_chosen(self, event: ListPanel.Chosen) -> None:
        event.stop()
        self._choose()

    def on_list_panel_highlighted(self, event: ListPanel.Highlighted) -> None:
        event.stop()

    def _set(self, text: str) -> None:
        line = self._line
        line.value = text
        line.cursor_position = len(text)

    def action_complete(self) -> None:
        row = self.query_one(ListPanel).cursor_row
        if row is not None and row.key != WHOLE:
            path = self._paths[row.key]
            self._set(f"{path}/" if path.is_dir() else str(path))
