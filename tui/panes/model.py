"""The model's card: what it is, and each field of its config in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.widget import Widget

from tui.actions import bindings
from tui.language import _
from tui.panes.view import View
from tui.widgets.frame import Line, LinesPanel
from tui.widgets.numbers import compact, size, thousands
from tui.widgets.text_safe import pad_cells, wrap_cells

if TYPE_CHECKING:
    from engine.worker.questions import FieldNote, Forecast, ModelCard
    from tui.studio import Studio

KEY_CELLS = 25


class ModelView(View):
    """The chosen model, explained."""

    home = "model"
    scope = "model_card"
    BINDINGS: ClassVar = bindings("model_card")

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-model")
        self.panel = LinesPanel(_("Model"))

    def compose(self) -> ComposeResult:
        yield self.panel

    def entry(self) -> Widget:
        return self.panel

    def show(self) -> None:
        studio = self.studio
        self.panel.set_title(studio.model_name)
        card, problem = studio.card, studio.card_problem
        if problem is not None:
            lines: list[Line] = [[], [(problem.what, "error")]]
            if problem.where:
                lines.append([(problem.where, "dim")])
            lines += [[(part, "text")] for part in wrap_cells(problem.hint, self._width())]
            self.panel.set_lines(lines)
        elif card is None:
            self.panel.set_lines([[], [(_("The model is being looked up …"), "dim")]])
        else:
            self.panel.set_figure(card.family)
            self.panel.set_lines([*self._facts(card, studio.forecast), *self._fields(card)])

    def _width(self) -> int:
        return max(20, self.panel.content_width - 3)

    def _facts(self, card: ModelCard, forecast: Forecast | None) -> list[Line]:
        name = self.studio.config.model_name_or_path or ""
        rows = [
            (_("chosen as"), name),
            (_("architecture"), card.architecture),
            (_("parameters"), f"{thousands(card.parameters)}  ({compact(card.parameters)})"),
            (_("context length"), f"{thousands(card.context)} {_('tokens')}"),
            (_("chat template"), _(card.template)),
            (_("weights on disk"), f"{size(card.size_bytes or None)}  {card.dtype}"),
        ]
        if card.quantised:
            rows.append((_("quantised"), card.quantised))
        lines: list[Line] = [[]]
        lines += [[(pad_cells(label, KEY_CELLS), "dim"), (value, "text")] for label, value in rows]
        if forecast is not None:
            lines += [[], [(_("Memory for the run that the form describes"), "accent bold")]]
            parts = [
                (_("weights"), forecast.weights),
                (_("gradients"), forecast.gradients),
                (_("optimiser state"), forecast.optimiser),
                (_("activations"), forecast.activations),
                (_("logits"), forecast.logits),
                (_("together"), forecast.total),
            ]
            for label, count in parts:
                lines.append([(pad_cells(label, KEY_CELLS), "dim"), (size(count), "text")])
        return lines

    def _fields(self, card: ModelCard) -> list[Line]:
        lines: list[Line] = [[], [(_("Its config.json, field by field"), "accent bold")]]
        room = max(20, self._width() - KEY_CELLS)
        for note in card.fields:
            head = f"{note.key} "
            lines.append([(head, "accent"), (note.value, "text")])
            lines += [[("  " + part, "dim")] for part in wrap_cells(_sentence(note), room + 20)]
        return lines


def _sentence(note: FieldNote) -> str:
    """The field's sentence in the screen's language, this model's values filled in."""
    return _(note.message).format(**dict(note.parts))
