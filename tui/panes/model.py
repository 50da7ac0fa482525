"""The model's card: what it is, and each field of its config in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.widget import Widget

from tui.actions import bindings
from tui.engine_text import engine_text
from tui.language import _, listed
from tui.panes.view import View
from tui.widgets.frame import Line
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import compact, memory_size, size, thousands
from tui.widgets.text_safe import pad_cells, visible, wrap_cells

if TYPE_CHECKING:
    from engine.problem import Problem
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
            self.panel.set_figure("")
            self.panel.set_lines([*self._download(), *self._absent(problem)])
        elif card is None:
            self.panel.set_lines([[], [(_("The model is being looked up …"), "dim")]])
        else:
            self.panel.set_figure(card.family)
            self.panel.set_lines([*self._facts(card, studio.forecast), *self._fields(card)])

    def _width(self) -> int:
        return max(20, self.panel.content_width - 3)

    def _download(self) -> list[Line]:
        """How far the download of this model is, while there is one."""
        download = self.studio.download
        if download is None or not download.under_way:
            return []
        done, total = download.done, download.total
        share = f"  {100 * done / total:.0f} %" if total else ""
        lines: list[Line] = [[], [(_("Downloading"), "accent bold")]]
        rows = [(_("fetched"), f"{size(done)} {_('of')} {size(total or None)}{share}")]
        if download.count:
            rows.append((_("file"), f"{download.number} {_('of')} {download.count}"))
            rows.append(("", visible(download.file)))
        return lines + [[(pad_cells(label, KEY_CELLS), "dim"), (told, "text")]
                        for label, told in rows]  # fmt: skip

    def _absent(self, problem: Problem) -> list[Line]:
        """Why there is no card, and what the catalogue knows of the model meanwhile."""
        from engine.worker.catalogue import pickable

        width = self._width()
        lines: list[Line] = [[]]
        lines += [
            [(part, "error")] for part in wrap_cells(visible(engine_text(problem.what)), width)
        ]
        if problem.where:
            lines.append([(visible(engine_text(problem.where)), "dim")])
        lines += [
            [(part, "text")] for part in wrap_cells(visible(engine_text(problem.hint)), width)
        ]
        config = self.studio.config
        known = pickable(config.model_name_or_path or "", config.hub)
        if known is None:
            return lines
        thinking = f", {_('thinks')}" if known.thinking else ""
        rows = [
            (_("name"), known.name),
            (_("parameters"), known.size or "–"),
            (_("kind"), _(known.kind) + thinking),
            (_("takes"), listed(_(kind) for kind in ("text", *known.media))),
            (_("template"), known.template or "–"),
            (_("read in"), known.source),
        ]
        lines += [[], [(_("What is known of it"), "accent bold")]]
        for label, told in rows:
            parts = wrap_cells(told, max(10, width - KEY_CELLS)) or [""]
            lines.append([(pad_cells(label, KEY_CELLS), "dim"), (parts[0], "text")])
            lines += [[(" " * KEY_CELLS, "dim"), (part, "text")] for part in parts[1:]]
        return lines

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
        if card.licence:
            rows.append((_("Licence"), visible(card.licence)))
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
                (_("libraries, and gaps"), forecast.runtime + forecast.holes),
                (_("together"), forecast.total),
            ]
            lines += [
                [(pad_cells(label, KEY_CELLS), "dim"), (memory_size(count), "text")]
                for label, count in parts
            ]
        return lines

    def _fields(self, card: ModelCard) -> list[Line]:
        lines: list[Line] = [[], [(_("Its config.json, field by field"), "accent bold")]]
        room = max(20, self._width() - KEY_CELLS)
        for note in card.fields:
            lines.append([(f"{visible(note.key)} ", "accent"), (visible(note.value), "text")])
            told = wrap_cells(visible(_sentence(note)), room + 20)
            lines += [[("  " + part, "dim")] for part in told]
        return lines


def _sentence(note: FieldNote) -> str:
    """The field's sentence in the screen's language, this model's values filled in."""
    return _(note.message).format(**dict(note.parts))
