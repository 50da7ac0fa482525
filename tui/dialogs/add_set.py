"""A set that is being added: what was made out of its rows, to be corrected, beside two of them."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container

from engine.problem import BadInput, FinetuiError, Problem, Stopped
from tui.actions import bindings
from tui.dialogs.dialog import Dialog
from tui.dialogs.set_preview import preview_lines
from tui.dialogs.set_words import COLUMNS, PARTS, TAGS, TOLD, typed_fault, word
from tui.engine_text import engine_text
from tui.language import _
from tui.shell import shell
from tui.widgets.form_list import FormList
from tui.widgets.form_row import FormRow
from tui.widgets.frame import Line
from tui.widgets.key_line import KeyHint, KeyLine
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible

if TYPE_CHECKING:
    from engine.worker.new_sets import Draft, Found, Keep
    from tui.studio import Studio

NONE = "–"
# From here on the form and the rows stand side by side.
SIDE_BY_SIDE = 110


class SetForm(FormList):
    """The entry, a row a value."""

    scope = "values"
    BINDINGS: ClassVar = bindings("values")


class RowsPreview(LinesPanel):
    """The first rows as they would be learned from."""


class AddSet(Dialog[str | None]):
    """The result is the name of the set that was added, or None.

    `source` is a path or a hub's name; `folder` the chosen dataset folder, None where it is none on
    disk.
    """

    DEFAULT_CSS = """
    AddSet { background: ansi_default; }
    AddSet > Container { width: 100%; height: 1fr; layout: vertical; }
    AddSet SetForm { height: 3fr; width: 1fr; }
    AddSet RowsPreview { height: 2fr; width: 1fr; }
    AddSet.wide > Container { layout: horizontal; }
    AddSet.wide SetForm { height: 1fr; width: 2fr; min-width: 54; max-width: 76; }
    AddSet.wide RowsPreview { height: 1fr; width: 3fr; }
    """
    BINDINGS: ClassVar = [
        Binding("escape", "leave", "close", show=False),
        Binding("w", "write", "add", show=False),
        Binding("j", "scroll(1)", "rows down", show=False),
        Binding("k", "scroll(-1)", "rows up", show=False),
    ]

    # Whether it may be written over a set of that name.
    can_replace = True

    def __init__(self, studio: Studio, source: str, folder: Path | None) -> None:
        super().__init__()
        self.studio = studio
        self.source = source
        self.folder = folder
        self.found: Found | None = None
        self.keep = 0
        self.places: list[tuple[Keep, Path]] = []
        self.fault = ""
        self.name_fault = ""
        self.writing = False
        self.replacing = False
        self._told = 0.0
        self._left = False
        self.part: dict[str, str] = {}

    @property
    def heading(self) -> str:
        return _("A new set")

    @property
    def verb(self) -> str:
        """What is done at the end."""
        return _("add it")

    def compose(self) -> ComposeResult:
        with Container():
            form = SetForm(self.heading, empty=_("Its rows are being read …"))
            form.active = True
            yield form
            preview = RowsPreview(_("its first rows"))
            preview.can_focus = False
            yield preview
        yield KeyLine()

    def on_mount(self) -> None:
        self._fit(self.app.size.width)
        keys = self.query_one(KeyLine)
        keys.set_tail([])
        keys.set_keys(
            [
                KeyHint("Enter", _("edit"), "enter"),
                KeyHint("←→", _("choose")),
                KeyHint("w", self.verb),
                KeyHint("j k", _("scroll the rows"), "j"),
                KeyHint("Esc", _("leave"), "escape"),
            ],
            [],
        )
        self.query_one(SetForm).focus()
        self._read()

    def _read(self) -> None:
        """Make out the source, or the part of it that is asked for."""
        from engine.worker.new_sets import beside, is_far, make_out

        self.fault = ""
        part = (self.part.get("subset") or None, self.part.get("split") or None)
        ask = (self.source, self.studio.config, *part)
        if is_far(self.source):
            self.query_one(RowsPreview).set_lines([[(_("It is being fetched …"), "dim")]])
            then = self._answer(self._made_out)
            beside(then, make_out, *ask, self._progress, self._check_left)
        else:
            self.studio.ask(self._answer(self._made_out), make_out, *ask, key="make out")

    def _progress(self, activity: str, done: float, total: float, _unit: str) -> None:
        """On the fetching thread, often: it is drawn a few times a second."""
        if total and time.monotonic() - self._told > 0.3:
            self._told = time.monotonic()
            share = f"{engine_text(activity)}   {100 * done / total:.0f} %"
            shell(self).call_from_thread_later(self._show_progress, share)

    def _show_progress(self, share: str) -> None:
        if self.is_attached:
            self.query_one(RowsPreview).set_lines([[(visible(share), "dim")]])

    def _check_left(self) -> None:
        if self._left:
            raise Stopped

    def on_resize(self) -> None:
        self._fit(self.app.size.width)
        self.call_after_refresh(self.draw)

    def _fit(self, width: int) -> None:
        self.set_class(width >= SIDE_BY_SIDE, "wide")

    # Answers of the look-up thread

    def _answer(self, take: Any) -> Any:
        def answered(future: Future[Any]) -> None:
            shell(self).call_from_thread_later(self._taken, take, future)

        return answered

    def _taken(self, take: Any, future: Future[Any]) -> None:
        if not self.is_attached:
            return  # it was left meanwhile
        try:
            take(future.result())
        except CancelledError:
            return
        except (FinetuiError, OSError) as error:
            self.writing = False
            self._refused(error.problem if isinstance(error, BadInput) else Problem(str(error)))
        self.draw()

    def _refused(self, problem: Problem) -> None:
        if self.found is None:
            # There is nothing to correct: the card over the screen says why.
            self.dismiss(None)
            shell(self).tell(problem)
            return
        taken = problem.what.startswith("There is a set")
        self.name_fault = f"{problem.what} {problem.hint}" if taken else ""
        self.fault = "" if taken else f"{problem.what} {problem.hint}"
        self.query_one(SetForm).select("name" if taken else "write")

    def _made_out(self, found: Found) -> None:
        from engine.worker.new_sets import free_name, places_for

        if self.found is None:
            taken = {entry.name for entry in self.studio.datasets}
            name = free_name(found.draft.name, taken)
        else:
            name = self.found.draft.name
        self.found = replace(found, draft=replace(found.draft, name=name))
        self.places = places_for(found.draft, self.folder)
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        self.draw()
        form = self.query_one(SetForm)
        if not form.cursor_key:
            form.select("name")

    def _looked(self, found: Found) -> None:
        # The name may have been typed while the rows were looked at.
        name = self.found.draft.name if self.found is not None else found.draft.name
        self.found = replace(found, draft=replace(found.draft, name=name))

    # Drawing

    def draw(self) -> None:
        """The form and the rows as they stand now."""
        if self.found is None or not self.is_attached:
            return
        form = self.query_one(SetForm)
        form.set_title(f"{self.heading}   {Path(self.source).name or self.source}")
        form.set_rows(self._rows(self.found))
        preview = self.query_one(RowsPreview)
        preview.set_figure(self._usable(self.found))
        preview.set_lines(self._lines(self.found, max(20, preview.content_width - 3)))

    def _usable(self, found: Found) -> str:
        usable, all_ = thousands(found.look.usable), thousands(found.look.looked_at)
        return f"{usable} {_('of')} {all_} {_('usable')}"

    def _rows(self, found: Found) -> list[FormRow]:
        draft = found.draft
        rows = [FormRow("name", _("name"), draft.name, problem=engine_text(self.name_fault))]
        if self.can_replace and (self.name_fault or self.replacing):
            over = "x" if self.replacing else ""
            rows.append(FormRow("replace", _("write over it"), over, "switch"))
        has_parts = draft.path is None or draft.path.is_dir()
        for part, label in PARTS.items() if has_parts else ():
            rows.append(FormRow(part, _(label), self.part.get(part, "")))
        rows.append(FormRow("rows_are", _("rows are"), word(draft.rows_are), "choice"))
        if draft.rows_are != "text":
            rows.append(FormRow("judged", _("kind of answers"), word(draft.judged), "choice"))
        rows.append(FormRow("", _("Columns"), kind="heading"))
        for name in draft.asked_columns:
            label = _("text") if draft.rows_are == "text" else _(COLUMNS[name])
            value = draft.columns.get(name, NONE)
            rows.append(FormRow(f"columns.{name}", label, value, "choice"))
        if draft.asked_tags:
            rows.append(FormRow("", _("Turns"), kind="heading"))
        for name in draft.asked_tags:
            value = draft.tags.get(name, NONE)
            rows.append(FormRow(f"tags.{name}", _(TAGS[name]), value, "choice"))
        rows.append(FormRow("", _("Entry"), kind="heading"))
        return [*rows, *self._entry_rows(draft)]

    def _entry_rows(self, draft: Draft) -> list[FormRow]:
        """What is said of the set as a whole, and where."""
        samples = thousands(draft.num_samples) if draft.num_samples else _("all")
        typed = str(draft.num_samples or "")
        rows = [FormRow("num_samples", _("random rows of it"), samples, typed=typed)]
        keep, _folder = self.places[self.keep]
        kind = "choice" if len(self.places) > 1 else "note"
        label = _("written into") if kind == "choice" else f"{_('written into')} {word(keep)}"
        told = _(TOLD[keep])
        rows.append(FormRow("keep", label, word(keep), kind, remark=told))  # type: ignore[arg-type]
        told = _("is being added …") if self.writing else "Enter"
        rows.append(FormRow("write", _("Add it"), told, "fold", problem=engine_text(self.fault)))
        return rows

    def _lines(self, found: Found, width: int) -> list[Line]:
        return preview_lines(found.look, width)

    # Changing

    def on_form_list_highlighted(self, event: FormList.Highlighted) -> None:
        event.stop()

    def on_form_list_stepped(self, event: FormList.Stepped) -> None:
        event.stop()
        if self.found is None:
            return
        if event.key == "replace":
            self.replacing = not self.replacing
            self.name_fault = ""
            self.draw()
            return
        if event.key == "keep":
            self.keep = (self.keep + event.by) % len(self.places)
            self.draw()
            return
        choices, now = self._choices(event.key)
        value = choices[(choices.index(now) + event.by) % len(choices)]
        self._correct(event.key, None if value == NONE else value)

    def _choices(self, key: str) -> tuple[list[str], str]:
        """What a row can be, and what it is."""
        assert self.found is not None
        draft = self.found.draft
        part, _dot, name = key.partition(".")
        if part == "rows_are":
            return ["alpaca", "sharegpt", "openai", "text"], draft.rows_are
        if part == "judged":
            return ["one answer", "better and worse", "good or bad"], draft.judged
        if part == "columns":
            known, now = [fact.name for fact in draft.facts], draft.columns.get(name, NONE)
        elif name in ("role_tag", "content_tag"):
            known, now = list(self.found.turn_keys), draft.tags.get(name, NONE)
        else:
            known, now = list(self.found.roles), draft.tags.get(name, NONE)
        return [NONE, *dict.fromkeys([*known, *([now] if now != NONE else [])])], now

    def _correct(self, key: str, value: str | None) -> None:
        from engine.worker.new_sets import corrected, look_again

        assert self.found is not None
        draft = corrected(self.found.draft, key, value)
        self.found = replace(self.found, draft=draft)
        self.fault = ""
        self.draw()
        self.studio.ask(self._answer(self._looked), look_again, draft, key="look again")

    def on_form_list_typing(self, event: FormList.Typing) -> None:
        event.stop()
        self.query_one(SetForm).show_typed_problem(typed_fault(event.key, event.text))

    def on_form_list_edited(self, event: FormList.Edited) -> None:
        event.stop()
        form = self.query_one(SetForm)
        fault = typed_fault(event.key, event.text)
        if fault or self.found is None:
            form.show_typed_problem(fault)
            return
        form.close_editor()
        text = event.text.strip()
        if event.key in PARTS or event.key == "file":
            self._typed_source(event.key, text)
        elif event.key == "name":
            self.name_fault, self.replacing = "", False
            self._put(replace(self.found.draft, name=text))
        else:
            self._put(
                replace(self.found.draft, num_samples=int(text.replace(",", "") or 0) or None)
            )

    def _typed_source(self, key: str, text: str) -> None:
        """Another part of a hub's set, or another file, is to be looked at."""
        self.part[key] = text
        self._read()

    def _put(self, draft: Draft) -> None:
        assert self.found is not None
        self.found = replace(self.found, draft=draft)
        self.fault = ""
        self.draw()

    def on_form_list_opened(self, event: FormList.Opened) -> None:
        event.stop()
        if event.key == "write":
            self.action_write()

    # Keys

    def action_write(self) -> None:
        from engine.worker.new_sets import add

        if self.found is None or self.writing:
            return
        if not self.found.look.usable:
            self.fault = _("None of the rows can be used so: say what its columns are.")
            self.query_one(SetForm).select("write")
            self.draw()
            return
        self.writing, self.fault, self.name_fault = True, "", ""
        keep, folder = self.places[self.keep]
        draft = self.found.draft
        asked = (self.replacing, self.folder)
        self.draw()
        self.studio.ask(self._answer(self._written), add, draft, keep, folder, *asked)

    def _written(self, _path: Path) -> None:
        assert self.found is not None
        self.dismiss(self.found.draft.name)

    def action_scroll(self, by: int) -> None:
        self.query_one(RowsPreview).action_scroll_lines(3 * by)

    def action_leave(self) -> None:
        self._left = True  # what came of a fetch is kept for the next time
        self.dismiss(None)
