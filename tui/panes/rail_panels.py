"""The panels of the rail: each a summary, and a list while it is focused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.message import Message

from tui.actions import bindings
from tui.engine_text import engine_text
from tui.language import _, clauses, listed
from tui.panes.words import download_line, row_count, state_mark
from tui.shell import shell
from tui.widgets.frame import Framed, Line, Span, ends
from tui.widgets.list_view import ListPanel, ListRow
from tui.widgets.numbers import about, age, compact, loss, memory, rate, thousands
from tui.widgets.text_safe import visible

if TYPE_CHECKING:
    from engine.worker.questions import DatasetEntry, KnownModel
    from tui.studio import Studio

# Cells of a row before the name, and between that and what is said of the set.
REASON_AT = 6
# The stages as they are named for a set that suits several.
_STAGE_ORDER = ("sft", "rm", "dpo", "kto", "pt", "ppo", "grpo", "rloo", "distill")


class StepIn(Message):
    """Enter on a rail panel: its detail is to take the focus; `/`: and to ask what to look for."""

    def __init__(self, name: str, search: bool = False) -> None:
        super().__init__()
        self.name = name
        self.search = search


class ModelPanel(ListPanel):
    """1 Model: three lines of the chosen model; the known models while focused."""

    scope = "model"
    BINDINGS: ClassVar = bindings("model")

    def __init__(self, studio: Studio) -> None:
        super().__init__("1 " + _("Model"), id="rail-model")
        self.studio = studio

    def show(self) -> None:
        self.set_title("1 " + _("Model"))
        models = self.studio.models
        self.set_figure(self._told_count(len(models)))
        chosen = self.studio.config.model_name_or_path
        self.set_rows(
            ListRow(
                model.name,
                model.label,
                _model_figures(model),
                mark="✓" if model.name == chosen else "",
            )
            for model in models
        )
        self.content_changed()

    def _told_count(self, count: int) -> str:
        download = self.studio.download
        if download is not None and download.under_way:
            return f"↓ {100 * download.done / download.total:.0f} %" if download.total else "↓"
        return str(count) if self.has_focus and count else ""

    def content_line(self, y: int, width: int) -> Line:
        if self.has_focus and self.rows:
            return super().content_line(y, width)
        studio = self.studio
        card = studio.card
        if y == 0:
            return [(f" {studio.model_name}", "text")]
        download = studio.download
        if download is not None and download.under_way:
            return download_line(download, y, width)
        if studio.card_problem is not None:
            return [(f" {engine_text(studio.card_problem.what)}", "error")] if y == 1 else ()
        if card is None:
            return [(" …", "dim")] if y == 1 else ()
        if y == 1:
            left = f" {card.family} · {compact(card.parameters)}"
            return ends([(left, "text")], [(f"ctx {thousands(card.context)} ", "dim")], width)
        if y == 2 and studio.advice and studio.forecast is not None:
            needs = memory(studio.forecast.total)
            words = f" {needs} {_('of')} {self._has()}: {engine_text(studio.advice[0].change)}"
            return ends([(words, "warning")], [("F6 ", "accent")], width)
        if y == 2:
            return ends([(f" {_(card.template)}", "text")], self._fits(), width)
        return ()

    def _has(self) -> str:
        return f"{(self.studio.device_memory() or 0) / 2**30:.0f} GB"

    def _fits(self) -> list[Span]:
        studio = self.studio
        forecast, total = studio.forecast, studio.device_memory()
        if forecast is None or studio.reading is None or not total:
            return []
        amount = f"{memory(forecast.total)} {_('of')} {self._has()} "
        if not forecast.fits or forecast.total > total * 0.95:
            return [(clauses(_("too big"), amount), "warning")]
        if studio.disk is not None and not studio.disk.fits:
            return [(f"{studio.disk_words()} ", "warning")]
        return [(clauses(_("fits"), amount), "dim")]

    def action_choose(self) -> None:
        row = self.cursor_row
        if row is not None:
            hubs = {model.name: model.hub for model in self.studio.models}
            shell(self).action_use_model(row.key, hubs.get(row.key, ""))

    def action_pick_catalogue(self) -> None:
        shell(self).action_pick_catalogue()

    def action_download_model(self) -> None:
        shell(self).action_download_model()

    def action_toggle_row(self) -> None:
        # There is nothing to mark here: space keeps its meaning for the whole screen.
        shell(self).action_pause_job()

    def action_step_in(self) -> None:
        self.post_message(StepIn("model"))

    def action_type_model(self) -> None:
        shell(self).action_type_model()


def _model_figures(model: KnownModel) -> tuple[str, ...]:
    size = compact(model.parameters) if model.parameters else ""
    if model.scores:
        return (_("reward model"), size)
    return (size,) if size else ()


class DataPanel(ListPanel):
    """2 Data: the sets of the dataset folder, those the next run uses marked."""

    scope = "data"
    BINDINGS: ClassVar = bindings("data")

    def __init__(self, studio: Studio) -> None:
        super().__init__("2 " + _("Data"), id="rail-data")
        self.studio = studio

    def show(self) -> None:
        studio = self.studio
        chosen = studio.chosen
        self.set_title("2 " + _("Data"))
        known = {entry.name for entry in studio.datasets}
        total = len(known)
        if total:
            self.set_figure(f"{len(known & set(chosen))} {_('of')} {total}")
        else:
            self.set_figure("")
        problem = studio.datasets_problem
        self.set_empty(
            engine_text(problem.what)
            if problem is not None
            else _("No sets here. Press a to make one of a file, or d for another folder.")
        )
        rows = []
        names = max((cell_len(visible(name)) for name in known), default=0)
        for entry, reason in studio.fitting():
            used = entry.name in chosen
            # The reasons stand below each other.
            gap = " " * (names - cell_len(visible(entry.name)))
            # In full, or the stages that it is for stand there.
            room = self.content_width - names - REASON_AT
            words = engine_text(reason)
            told = 0 < cell_len(words) <= room
            rows.append(
                ListRow(
                    entry.name,
                    entry.name,
                    (self._rows_figure(entry, bool(reason) and not used),),
                    mark=("!" if reason else "✓") if used else "",
                    mark_role="warning" if reason else "ok",
                    dim=bool(reason) and not used,
                    reason=f"{gap}{words}" if told and not used else "",
                )
            )
        for name in chosen:
            if name not in known and known:
                rows.append(ListRow(name, name, ("?",), mark="✗", mark_role="error"))
        self.set_rows(rows)

    def on_resize(self) -> None:
        # There may be room for a reason in full now, or none any more.
        self.show()

    def _rows_figure(self, entry: DatasetEntry, dimmed: bool) -> str:
        """A set's rows; of one that does not suit the stage, the stages that it is for; `✗` of one
        that can't be read."""
        if entry.problem is not None:
            return "✗"
        stages = sorted(self.studio.fits_stages(entry), key=_STAGE_ORDER.index) if dimmed else []
        if not stages:
            return row_count(entry)
        name = cell_len(visible(entry.name)) + REASON_AT
        for count in (2, 1):
            told = f"{_('for')} {listed(stages[:count])}" + (" …" if stages[count:] else "")
            if name + cell_len(told) <= self.content_width:
                break
        return told

    def action_toggle_set(self) -> None:
        if self.cursor_row is not None:
            self.studio.toggle_dataset(self.cursor_row.key)
            shell(self).action_form_changed()

    def action_step_in(self) -> None:
        self.post_message(StepIn("data"))

    def action_search(self) -> None:
        self.post_message(StepIn("data", search=True))

    def action_folder(self) -> None:
        shell(self).action_dataset_folder()

    def action_add_set(self) -> None:
        shell(self).action_add_set()

    def action_edit_set(self) -> None:
        shell(self).action_edit_set()

    def action_remove_set(self) -> None:
        shell(self).action_remove_set()


class SettingsPanel(Framed):
    """3 Settings: the eight lines that matter most, and what they come to."""

    scope = "settings"
    BINDINGS: ClassVar = bindings("settings")

    def __init__(self, studio: Studio) -> None:
        super().__init__("3 " + _("Settings"), id="rail-settings")
        self.studio = studio

    def show(self) -> None:
        self.set_title("3 " + _("Settings"))
        count = len(self.studio.changed())
        self.set_figure(f"{count} {_('changed')}" if count else "")
        self.content_changed()

    def content_line(self, y: int, width: int) -> Line:
        rows = self._rows()
        if y < len(rows):
            label, value, keys = rows[y]
            told = keys & self.studio.changed() or (
                label == _("preset") and self.studio.preset_label()
            )
            mark = "● " if told else "  "
            right: list[Span] = [(value, "text"), (f" {mark}"[:3].rstrip() + " ", "accent")]
            if mark == "  ":
                right = [(f"{value} ", "text")]
            return ends([(f" {label}", "dim")], right, width)
        if y == self.content_height - 1 or y == len(rows) + 1:
            if y != len(rows) + 1 and self.content_height > len(rows) + 2:
                return ()
            return self._outcome(width)
        return ()

    def _rows(self) -> list[tuple[str, str, set[str]]]:
        config = self.studio.config
        how: str = config.finetuning_type
        if how == "lora":
            how = f"lora, {_('rank')} {config.lora_rank}"
        elif how == "freeze":
            layers = config.freeze_trainable_layers
            how = f"freeze, {abs(layers)} {_('layers')}"
        micro, pile = config.per_device_train_batch_size, config.gradient_accumulation_steps
        epochs = f"{config.num_train_epochs:g}"
        length = (_("epochs"), epochs, {"num_train_epochs"})
        if config.max_steps > 0:
            length = (_("steps"), thousands(config.max_steps), {"max_steps"})
        speed = f"{rate(config.learning_rate)} {config.lr_scheduler_type}"
        return [
            (_("preset"), self.studio.preset_label() or _("own"), {"preset"}),
            (_("stage"), config.stage, {"stage"}),
            (_("method"), how, {"finetuning_type", "lora_rank", "freeze_trainable_layers"}),
            length,
            (_("learning rate"), speed, {"learning_rate", "lr_scheduler_type"}),
            (_("batch"), f"{micro} × {pile} = {micro * pile}", set()),
            (_("cutoff"), thousands(config.cutoff_len), {"cutoff_len"}),
            (_("precision"), self.studio.precision, {"bf16", "fp16", "pure_bf16"}),
        ]

    def _outcome(self, width: int) -> Line:
        studio = self.studio
        if studio.problems:
            count = len(studio.problems)
            words = _("1 fault") if count == 1 else f"{count} {_('faults')}"
            return [(f" → {words}: Enter", "error")]
        steps = studio.steps
        if steps is None:
            return (
                [(" → …", "dim")] if studio.chosen else [(f" → {_('no data chosen')}", "warning")]
            )
        left = f" → {thousands(steps.total)} {_('steps')}"
        seconds = studio.seconds_per_run(steps.total)
        right: list[Span] = []
        if seconds is not None:
            right = [(f"{_('about')} {about(seconds)} ", "dim")]
        return ends([(left, "text")], right, width)

    def action_step_in(self) -> None:
        self.post_message(StepIn("settings"))

    def action_search(self) -> None:
        self.post_message(StepIn("settings", search=True))


class RunsPanel(ListPanel):
    """4 Runs: every run folder under `saves/`, the newest first."""

    scope = "runs"
    BINDINGS: ClassVar = bindings("runs")

    def __init__(self, studio: Studio) -> None:
        super().__init__(
            "4 " + _("Runs"),
            id="rail-runs",
            empty="",
        )
        self.studio = studio

    def show(self) -> None:
        self.set_title("4 " + _("Runs"))
        told = _("None yet. Press t to train one; it is kept in saves/.")
        self.set_empty(told if self.studio.runs_read else "…")
        studio = self.studio
        runs = studio.runs
        self.set_figure(str(len(runs)) if runs else "")
        rows = []
        live = studio.live
        for run in runs:
            mark, role = state_mark(run.state)
            last, best = run.last_loss, studio.best_of(run)
            figure = loss(last) if best is None else f"★{loss(best.value)}"
            ago = _(age(time.time() - run.updated))
            if live is not None and live.run == run.name and not live.ended:
                mark, role = state_mark("running")
                last = live.last_loss if live.last_loss is not None else last
                figure, ago = loss(last), _("now")
            rows.append(ListRow(str(run.path), run.name, (figure, ago), mark=mark, mark_role=role))
        self.set_rows(rows)

    def on_focus(self) -> None:
        # Another process may have run, renamed or removed some since.
        self.studio.read_runs()

    def action_toggle_row(self) -> None:
        shell(self).action_pause_job()

    def action_step_in(self) -> None:
        if self.cursor_row is not None:
            self.post_message(StepIn("runs"))

    def action_resume_run(self) -> None:
        shell(self).action_resume_run()

    def action_take_settings(self) -> None:
        shell(self).action_take_settings()

    async def action_chat_run(self) -> None:
        await shell(self).action_chat_run()
