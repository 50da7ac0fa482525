"""Evaluate: loss and accuracy on a set, or an answer to each row beside its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from engine.events import PredictionMade
from tui.actions import bindings
from tui.engine_text import engine_text
from tui.language import _
from tui.panes.job_form import JobForm, JobView
from tui.panes.score_words import called, score_help
from tui.widgets.form_row import FormRow
from tui.widgets.frame import Line
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.list_view import ListPanel, ListRow
from tui.widgets.numbers import duration, loss, middle_cut, thousands
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from tui.studio import Studio

MODES = ("loss", "answers")
MEASURES = ("bleu-4", "rouge-l", "rouge-1", "rouge-2", "exact_match")


class EvaluateForm(JobForm):
    """What to score, on what, and how."""


class AnswerList(ListPanel):
    """The rows that were answered, each with its score and number."""


class EvaluateView(JobView):
    """Scores the base or a checkpoint on any set; rows appear as they are answered."""

    scope = "evaluate"
    BINDINGS: ClassVar = bindings("evaluate")
    checked = ("eval_dataset",)
    DEFAULT_CSS = """
    EvaluateView EvaluateForm { height: 10; }
    EvaluateView #scores { height: 5; }
    EvaluateView #asked { height: auto; }
    EvaluateView #answered { height: 1fr; }
    EvaluateView.alone #asked { height: 1fr; }
    EvaluateView.alone #answered { display: none; }
    EvaluateView.alone #scores { height: 1fr; }
    EvaluateView.wide { layout: horizontal; }
    EvaluateView.wide #asked { width: 2fr; height: 1fr; }
    EvaluateView.wide #answered { width: 3fr; height: 1fr; }
    EvaluateView.wide #scores { height: 1fr; }
    EvaluateView AnswerList { height: 1fr; }
    EvaluateView #answer { height: 10; }
    EvaluateView.narrow EvaluateForm { height: 3; }
    EvaluateView.narrow.alone EvaluateForm, EvaluateView.narrow #asked:focus-within EvaluateForm {
        height: 8;
    }
    EvaluateView.narrow #answer { height: 6; }
    EvaluateView.narrow #scores { height: 4; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-evaluate")
        self.form = EvaluateForm(_("Evaluate"))
        self.scores = LinesPanel(_("scores"), id="scores")
        self.answers = AnswerList(_("answers"), marks=False)
        self.detail = LinesPanel(_("row"), id="answer")
        self.scores.can_focus = self.detail.can_focus = False
        self.mode = "loss"
        self.by_score = True
        self.run = ""
        self.scored = ""  # which model on which sets: the form may say another one by now
        config = studio.config
        self.values = {
            "eval_dataset": config.dataset or "identity",
            "max_samples": 50,
            "cutoff_len": config.cutoff_len,
            "per_device_eval_batch_size": 4,
            "max_new_tokens": 128,
            "do_sample": False,
        }

    def compose(self) -> ComposeResult:
        with Vertical(id="asked"):
            yield self.form
            yield self.scores
        with Vertical(id="answered"):
            yield self.answers
            yield self.detail

    def entry(self) -> Widget:
        return self.form

    def form_panel(self) -> JobForm:
        return self.form

    def fit(self, narrow: bool, wide: bool) -> None:
        self.set_class(narrow, "narrow")
        self.set_class(wide, "wide")

    def relabel(self) -> None:
        self.scores.set_title(_("scores"))
        self.detail.set_title(_("row"))

    # Drawing

    def show(self) -> None:
        self.form.set_title(_("Evaluate"))
        self.form.set_figure(f"g {_('start')}")
        self.form.set_rows(self._rows())
        live = self.studio.jobs.get(self.run)
        answers = self.mode == "answers" or bool(live and live.predictions)
        self.set_class(not answers, "alone")
        self.scores.set_figure(middle_cut(self.scored, max(10, self.scores.content_width - 20)))
        self.scores.set_wrapped(self._score_lines())
        meant = f"   ? {_('what they mean')}" if self.explained() else ""
        self.scores.set_title(_("scores") + meant)
        if answers:
            self._show_answers(live.predictions if live is not None else [])

    def _rows(self) -> list[FormRow]:
        words = {"loss": _("loss, perplexity, accuracy"), "answers": _("an answer to each row")}
        names = ["eval_dataset", "max_samples", "per_device_eval_batch_size"]
        names += ["cutoff_len"] if self.mode == "loss" else ["max_new_tokens", "do_sample"]
        return [
            self.model_row(),
            FormRow("mode", _("Measure"), words[self.mode], "choice"),
            *(self.setting_row(name) for name in names),
        ]

    def step_value(self, key: str, by: int) -> None:
        if key == "mode":
            self.mode = MODES[(MODES.index(self.mode) + by) % len(MODES)]
        else:
            super().step_value(key, by)

    def _score_lines(self) -> list[Line]:
        live = self.studio.jobs.get(self.run)
        if live is None:
            return [[(_("Nothing is scored yet: g starts."), "dim")]]
        if live.failure is not None:
            return [[(engine_text(live.failure.what), "error")]]
        if not live.ended:
            done, total = live.activity_done, live.activity_total
            if live.predictions:
                done, total = len(live.predictions), live.predictions[-1].total
            words = engine_text(live.activity) or _("running")
            count = f"  {thousands(done)}/{thousands(total)}" if total else ""
            return [[(f"{words}{count}", "text")], *self._means(live.predictions)]
        lines = result_lines(live.result) or self._means(live.predictions)
        if live.state == "stopped":
            words = _("Stopped; what was answered stands below.") if lines else _("stopped")
            lines.insert(0, [(words, "warning")])
        return lines

    def _means(self, made: list[PredictionMade]) -> list[Line]:
        if not made:
            return []
        totals: dict[str, list[float]] = {}
        for event in made:
            for name, value in event.scores.items():
                totals.setdefault(name, []).append(value)
        parts = [
            f"{called(name)} {sum(values) / len(values):.1f}" for name, values in totals.items()
        ]
        return [[("   ".join(parts), "text")]]

    def _show_answers(self, made: list[PredictionMade]) -> None:
        shown = list(made)
        if self.by_score:
            shown.sort(key=lambda event: event.scores.get(_measure(event), 0.0))
        self.answers.set_title(_("answers, the worst first") if self.by_score else _("answers"))
        # The columns of figures: by which score the rows stand, and each one's number in the set.
        columns = f"{called(_measure(made[0]))} · {_('row')}" if made else ""
        self.answers.set_figure(f"{thousands(len(made))} · {columns}" if made else "")
        self.answers.set_empty(_("Rows appear here as they are answered."))
        self.answers.set_rows(
            ListRow(
                str(event.index),
                " ".join(event.predict.split()) or _("(empty)"),
                (f"{event.scores.get(_measure(event), 0.0):.0f}", thousands(event.index + 1)),
            )
            for event in shown
        )
        self._show_detail()

    def _show_detail(self) -> None:
        live = self.studio.jobs.get(self.run)
        row = self.answers.cursor_row
        made = next(
            (one for one in live.predictions if row and str(one.index) == row.key), None
        ) if live is not None else None  # fmt: skip
        if made is None:
            self.detail.set_lines([])
            return
        width = max(20, self.detail.content_width - 4)
        lines: list[Line] = []
        for head, role, text in (
            (_("prediction"), "assistant", made.predict),
            (_("reference"), "ok", made.label),
            (_("prompt"), "user", made.prompt),
        ):
            lines.append([(head, role)])
            for part in wrap_cells(visible(text, keep_newlines=True), width):
                lines.append([("  " + part, "text")])
        figures = "   ".join(f"{called(name)} {value:.1f}" for name, value in made.scores.items())
        self.detail.set_figure(figures)
        self.detail.set_lines(lines)

    def on_list_panel_highlighted(self, event: ListPanel.Highlighted) -> None:
        event.stop()
        self._show_detail()

    def next_sort(self) -> None:
        self.by_score = not self.by_score
        self.show()

    def explained(self) -> list[Line]:
        """What the scores that stand here mean."""
        live = self.studio.jobs.get(self.run)
        if live is None:
            return []
        return score_help([*live.result, *(live.predictions[0].scores if live.predictions else ())])

    def action_sort(self) -> None:
        self.next_sort()

    # Starting

    def start(self) -> None:
        from engine.worker import EvaluateJob

        answers = self.mode == "answers"
        extra = {
            "stage": self._stage(answers),
            "do_train": False,
            "do_eval": not answers,
            "do_predict": answers,
            "predict_with_generate": answers,
            "val_size": 0.0,
            "output_dir": None,
            "resume_from_checkpoint": None,
            "eval_strategy": "no",
            "load_best_model_at_end": False,
        }
        source = self.chosen()
        run = self.submit(EvaluateJob, "predict" if answers else "evaluate", extra)
        if run and source is not None:
            self.run, self.scored = run, f"{source.label} · {self.values['eval_dataset']}"
        self.show()

    def _stage(self, answers: bool) -> str:
        """What to measure as: a reward model on pairs; else the form's stage where the set suits
        it, or the first stage that the set suits. Answers are a matter of sft."""
        source = self.chosen()
        if source is not None and source.scores:
            return "rm"
        if answers:
            return "sft"
        named = {name.strip() for name in str(self.values["eval_dataset"]).split(",")}
        sets = [entry for entry in self.studio.datasets if entry.name in named]
        order = (self.studio.config.stage, "sft", "dpo", "kto", "pt")
        suited = [set(self.studio.fits_stages(entry)) for entry in sets]
        fitting = (s for s in order if s != "rm" and all(s in stages for stages in suited))
        return next(fitting, "sft")


def _measure(event: PredictionMade) -> str:
    """The score that rows are sorted by: the first known one the row has."""
    return next((name for name in MEASURES if name in event.scores), next(iter(event.scores), ""))


def result_lines(result: dict[str, Any]) -> list[Line]:
    """The numbers of a finished job, three to a line."""
    parts = []
    for name, value in result.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        shown = thousands(value) if isinstance(value, int) else loss(float(value))
        if name.endswith("runtime"):
            shown = duration(value)
        parts.append(f"{called(name)} {shown}")
    return [[("   ".join(parts[start : start + 3]), "text")] for start in range(0, len(parts), 3)]
