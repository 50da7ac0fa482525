"""What a setting is, in a few lines: beside the form."""

from __future__ import annotations

from rich.cells import cell_len

from engine.config import RunConfig, format_value, settings, usual_of
from tui.language import _
from tui.widgets.frame import Line
from tui.widgets.text_safe import wrap_cells


def help_lines(config: RunConfig, base: RunConfig, key: str, width: int) -> list[Line]:
    """What it is, usual values for the stage and method, what more or less of it does, what it goes
    with, its default in `base`, its flat key."""
    info = settings()[key]
    meta = info.setting
    lines: list[Line] = [[(part, "text")] for part in wrap_cells(_(meta.help), width)]

    def block(head: str, text: str) -> None:
        if text:
            lines.append([])
            lines.append([(head, "accent")])
            lines.extend([("  " + part, "text")] for part in wrap_cells(text, width - 2))

    usual = _(usual_of(config, key))
    block(f"{_('Usual for')} {config.stage} + {config.finetuning_type}", usual)
    block(_("Higher"), _(meta.higher))
    block(_("Lower"), _(meta.lower))
    names = [_(settings()[one].setting.label) for one in meta.goes_with if one in settings()]
    block(_("Goes with"), ", ".join(names))
    if info.kind == "choice":
        block(_("Choices"), ", ".join(info.choices))
    default = format_value(key, getattr(base, key)) or _("empty")
    lines.append([])
    for head, text in ((_("Default"), default), (_("Flat key"), key)):
        if cell_len(head) + 2 + cell_len(text) <= width:
            lines.append([(f"{head}  ", "dim"), (text, "text")])
        else:
            lines.append([(head, "dim")])
            lines.extend([("  " + part, "text")] for part in wrap_cells(text, width - 2))
    return lines
