"""Export: an adapter merged into its base, as a folder that every tool loads."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.widget import Widget

from tui.actions import bindings
from tui.engine_text import engine_text
from tui.language import _
from tui.language import marked as _m
from tui.panes.job_form import JobForm, JobView
from tui.sources import Source
from tui.widgets.frame import Line
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import size, thousands
from tui.widgets.text_safe import pad_cells

if TYPE_CHECKING:
    from tui.studio import Studio


# What a finished export tells of itself, and what people call it.
_RESULTS = {
    "folder": _m("folder"),
    "size": _m("size on disk"),
    "dtype": _m("number type"),
    "shards": _m("weight files"),
    "parameters": _m("parameters"),
}


class ExportForm(JobForm):
    """What to export, where to, and how."""


class ExportView(JobView):
    """Merges, shards and writes; says where, how big, and how to use it."""

    scope = "export"
    BINDINGS: ClassVar = bindings("export")

    DEFAULT_CSS = """
    ExportView ExportForm { height: 9; }
    ExportView #exported { height: 1fr; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-export")
        self.form = ExportForm(_("Export"))
        self.told = LinesPanel(_("result"), id="exported")
        self.told.can_focus = False
        self.run = ""
        self._suggested = ""
        self._suggested_at: tuple[Source, str, str] | None = None
        self.values = {
            "export_dir": "",
            "infer_dtype": "auto",
            "export_size": studio.config.export_size,
            "export_device": studio.config.export_device,
        }

    def compose(self) -> ComposeResult:
        yield self.form
        yield self.told

    def entry(self) -> Widget:
        return self.form

    def form_panel(self) -> JobForm:
        return self.form

    def sources(self) -> list[Source]:
        """Runs and their checkpoints; a base alone needs no merging, but may be cast and cut."""
        return self.studio.sources()

    def relabel(self) -> None:
        self.told.set_title(_("result"))

    def source_changed(self) -> None:
        self.values["export_dir"] = ""

    def show(self) -> None:
        self._suggest()
        self.form.set_title(_("Export"))
        self.form.set_figure(f"g {_('start')}")
        names = ("export_dir", "infer_dtype", "export_size", "export_device")
        self.form.set_rows([self.model_row(), *(self.setting_row(name) for name in names)])
        self.told.set_wrapped(self._lines())

    def _suggest(self) -> None:
        """Name a free folder after the model, unless the person named one: another model may have
        become the newest, and the last export may lie in this one. The disk is asked when one of
        the two has happened, not for every picture."""
        source, live = self.chosen(), self.studio.jobs.get(self.run)
        if source is None or (live is not None and not live.ended):
            return
        at = (source, self.run, live.state if live is not None else "")
        told = self.values["export_dir"]
        if not told or (told == self._suggested and at != self._suggested_at):
            self._suggested_at = at
            self.values["export_dir"] = self._suggested = _suggested(source)

    def _lines(self) -> list[Line]:
        live = self.studio.jobs.get(self.run)
        if live is None:
            words = _(
                "The adapter is added to its base's weights: a model folder of its own, with "
                "tokenizer, chat template and a Modelfile for Ollama."
            )
            return [[(words, "dim")]]
        if live.failure is not None:
            return [
                [(engine_text(live.failure.what), "error")],
                [(engine_text(live.failure.hint), "text")],
            ]
        lines: list[Line] = []
        if not live.ended:
            done = f"  {thousands(live.activity_done)}/{thousands(live.activity_total)}"
            count = done if live.activity_total else ""
            lines.append([(f"{engine_text(live.activity) or _('running')}{count}", "text")])
        elif live.state == "stopped":
            lines.append([(_("Stopped; nothing was left behind."), "warning")])
        kind = str(live.result.get("loads_as", "AutoModelForCausalLM"))
        for key, value in live.result.items():
            if key == "loads_as":
                continue  # it stands in the line of Python below
            shown = str(value)
            if isinstance(value, (int, float)):
                shown = size(float(value)) if key == "size" else shown
                shown = thousands(value) if key == "parameters" else shown
            label = _(_RESULTS.get(key, key.replace("_", " ")))
            lines.append([(pad_cells(label, 14), "dim"), (shown, "text")])
        folder = live.result.get("folder")
        if folder:
            lines += [
                [],
                [(_("Load it in Python:"), "dim")],
                [(f'  {kind}.from_pretrained("{folder}")', "accent")],
            ]
        if folder and kind != "AutoModelForSequenceClassification":
            argument = shlex.quote(f"model_name_or_path={folder}")
            lines += [
                [(_("Talk to it here:"), "dim")],
                [(f"  finetui chat {argument}", "accent")],
            ]
        lines += [[(text, "dim")] for _when, _level, text in list(live.log)[-8:]]
        return lines

    def start(self) -> None:
        from engine.worker import ExportJob

        extra = {"do_train": False, "output_dir": None}
        self.run = self.submit(ExportJob, "export", extra) or self.run
        self.show()


def _suggested(source: Source) -> str:
    """A folder that is free: `exports/<run>`, numbered where that one exists."""
    name = source.label.replace("/checkpoint-", "-step")
    folder = Path("exports") / name
    number = 2
    while folder.exists():
        folder = Path("exports") / f"{name}-{number}"
        number += 1
    return str(folder)
