"""What a setting is, in a few lines: beside the form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from engine.config import RunConfig, format_value, settings, usual_of
from engine.worker.form_notes import form_notes, rate_curve
from tui.engine_text import engine_text
from tui.language import _, listed
from tui.widgets.frame import Line
from tui.widgets.numbers import thousands
from tui.widgets.sparkline import tall_sparkline
from tui.widgets.text_safe import wrap_cells

if TYPE_CHECKING:
    from engine.worker.questions import ModelCard


CURVE_LINES = 4


def help_lines(
    config: RunConfig,
    base: RunConfig,
    key: str,
    width: int,
    card: ModelCard | None = None,
    rows: int | None = None,
) -> list[Line]:
    """What it is, usual values for the stage and method, what more or less of it does, what it goes
    with, what it comes to for the model of `card` on this machine, its default in `base`, its flat
    key. `rows` are those of the chosen sets, for the length of the run."""
    info = settings()[key]
    meta = info.setting
    lines: list[Line] = [[(part, "text")] for part in wrap_cells(_(meta.help), width)]

    def block(head: str, text: str) -> None:
        if text:
            lines.append([])
            lines.append([(head, "accent")])
            lines.extend([("  " + part, "text")] for part in wrap_cells(text, width - 2))

    lines += _rate_lines(config, key, width, rows)
    usual = _(usual_of(config, key))
    block(f"{_('Usual for')} {config.stage} + {config.finetuning_type}", usual)
    block(_("Higher"), _(meta.higher))
    block(_("Lower"), _(meta.lower))
    names = [_(settings()[one].setting.label) for one in meta.goes_with if one in settings()]
    block(_("Goes with"), listed(names))
    if info.kind == "choice":
        block(_("Choices"), listed(info.choices))
    for note in form_notes(key, config, card):
        lines.append([])
        lines.append([(_(note.heading), "accent")])
        for words, figure, now in note.rows:
            lines += _note_lines(words, figure, now, width)
    default = format_value(key, getattr(base, key)) or _("empty")
    lines.append([])
    for head, text in ((_("Default"), default), (_("Flat key"), key)):
        if cell_len(head) + 2 + cell_len(text) <= width:
            lines.append([(f"{head}  ", "dim"), (text, "text")])
        else:
            lines.append([(head, "dim")])
            lines.extend([("  " + part, "text")] for part in wrap_cells(text, width - 2))
    return lines


def _note_lines(words: str, figure: str, now: bool, width: int) -> list[Line]:
    """A row with its figure at the right, marked where it is what the form says now."""
    mark, role = ("› ", "accent") if now else ("  ", "text")
    parts = wrap_cells(engine_text(_(words)), width - 2 - (cell_len(figure) + 1 if figure else 0))
    first = mark + parts[0]
    if figure:
        first += " " * (width - cell_len(figure) - cell_len(first)) + figure
    return [[(first, role)], *([("  " + part, role)] for part in parts[1:])]


def _rate_lines(config: RunConfig, key: str, width: int, rows: int | None) -> list[Line]:
    """The learning rate over the run, drawn small."""
    rates, steps = rate_curve(key, config, rows, width - 2)
    if not rates:
        return []
    head = _("Learning rate over the run")
    lines: list[Line] = [[], [(head, "accent")]]
    lines += [[("  " + line, "accent")] for line in tall_sparkline(rates, CURVE_LINES)]
    highest, last = f"↑ {max(rates):.2g}", f"{thousands(steps)} {_('steps')}"
    gap = max(1, width - 2 - cell_len(highest) - cell_len(last))
    lines.append([(f"  {highest}{' ' * gap}{last}", "dim")])
    return lines
