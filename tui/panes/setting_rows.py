"""The form's lines, made of the settings' declarations and the run as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal

from engine.config import RunConfig, empty_means, format_value, sections, settings
from engine.installed import has_extra, install_command
from engine.problem import Problem
from tui.engine_text import engine_text
from tui.language import _, clauses, named
from tui.widgets.form_row import FormRow

Level = Literal["basic", "all"]


@dataclass(frozen=True)
class FormState:
    """What the lines tell of a run's settings, by a setting's name.

    `faults` are what is wrong, `changed` those that differ from the default, `remarks` sentences
    that stand dim below a line.
    """

    config: RunConfig
    faults: Mapping[str, Problem]
    changed: Set[str]
    remarks: Mapping[str, str]

    def row(self, name: str) -> FormRow:
        """The line of one setting."""
        info = settings()[name]
        needs = info.setting.needs
        value = getattr(self.config, name)
        kind = "text"
        written = format_value(name, value)
        shown = written or _(empty_means(self.config, name))
        if info.kind == "bool" and not info.optional:
            kind, shown = "switch", "x" if value else ""
        elif info.kind == "choice" or (info.kind == "bool" and info.optional):
            kind = "choice"
            shown = shown or "–"
        problem = self.faults.get(name)
        lacking = needs and not has_extra(needs)
        return FormRow(
            name,
            _(info.setting.label),
            shown,
            kind,  # type: ignore[arg-type]
            name in self.changed,
            engine_text(f"{problem.what} {problem.hint}") if problem else "",
            named(_("needs"), install_command(needs)) if lacking else "",
            None if written else "",
            self.remarks.get(name, ""),
        )


def found_rows(state: FormState, words: str) -> list[FormRow]:
    """The settings whose key or label has every one of `words`, in the form's order."""
    wanted = words.lower().split()
    found = []
    for section in sections(state.config, "all"):
        for name in section.rows:
            label = settings()[name].setting.label
            text = f"{name} {label} {_(label)}".lower()
            if all(word in text for word in wanted):
                found.append(state.row(name))
    return found


def form_rows(state: FormState, level: Level, opened: Set[str]) -> list[FormRow]:
    """The form section by section; one that is folded is a line, unless opened or at fault."""
    shown = sections(state.config, level)
    rows: list[FormRow] = []
    for section in shown:
        faulty = any(name in state.faults for name in section.rows)
        if section.folded and section.name not in opened and not faulty:
            count = len(section.rows)
            touched = sum(name in state.changed for name in section.rows)
            words = f"{count} {_('settings')}" if count != 1 else _("1 setting")
            if touched:
                words = clauses(words, f"{touched} {_('changed')}")
            rows.append(FormRow(f"§{section.name}", _(section.name), words, "fold"))
            continue
        if rows:
            rows.append(FormRow("", "", kind="note"))
        rows.append(FormRow(f"#{section.name}", _(section.name), kind="heading"))
        rows += [state.row(name) for name in section.rows]
    seen = {name for section in shown for name in section.rows}
    for name in state.faults:
        # A fault must be seen, also in a setting that the basic form leaves out.
        if name not in seen and name in settings():
            rows.insert(0, state.row(name))
    return _air_before_folds(rows)


def _air_before_folds(rows: list[FormRow]) -> list[FormRow]:
    """A blank line between the open sections and the closed ones below them."""
    for place, row in enumerate(rows):
        if row.kind == "fold":
            if place and rows[place - 1].kind not in ("fold", "note"):
                rows.insert(place, FormRow("", "", kind="note"))
            break
    return rows
