"""The reference page of all settings, in Markdown, from the declarations."""

from __future__ import annotations

from engine.config.catalogue import SECTIONS, SettingInfo, settings
from engine.config.treatment import treatments
from engine.config.values import bound, format_value


def reference_page() -> str:
    """Every setting by section, then what becomes of every other key that files hold."""
    parts = ["# Settings", "", _INTRODUCTION]
    known = settings()
    for section in SECTIONS:
        inside = [info for info in known.values() if info.setting.section == section]
        parts += ["", f"## {section}", ""]
        for info in inside:
            parts += _entry(info)
    parts += ["", "## Other keys", ""]
    for kind in ("passed on", "translated", "not here yet", "not here"):
        names = sorted(
            name
            for name, treatment in treatments().items()
            if treatment.kind == kind and name not in known
        )
        parts += [f"### {kind.capitalize()}", "", "| key | |", "| --- | --- |"]
        parts += [f"| `{name}` | {_cell(treatments()[name].text)} |" for name in names]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


_INTRODUCTION = (
    "A run is one flat mapping of these keys: the same in a YAML or JSON file, as key=value on "
    "the command line, and in the form. Keys marked *own* are finetui's additions to the "
    "published convention; *secret* ones are read and used, and never written."
)


def _entry(info: SettingInfo) -> list[str]:
    meta = info.setting
    default = format_value(info.name, info.default) or "empty"
    marks = "".join([" *own*" if meta.own else "", " *secret*" if meta.secret else ""])
    facts = [info.type_text, f"default {default}"]
    low, high = info.bounds
    if low is not None:
        facts.append(f"{'above' if info.open_bounds[0] else 'from'} {bound(low)}")
    if high is not None:
        facts.append(f"{'below' if info.open_bounds[1] else 'up to'} {bound(high)}")
    if meta.unit:
        facts.append(f"in {meta.unit}")
    lines = [f"- `{info.name}` ({meta.label}){marks}: {meta.help} *{'; '.join(facts)}*"]
    if meta.usual or meta.usual_for:
        usual = [meta.usual] if meta.usual else []
        usual += [f"{method}: {text}" for method, text in meta.usual_for.items()]
        lines.append(f"  Usual: {'; '.join(usual)}.")
    if meta.higher:
        lines.append(f"  Higher: {meta.higher}.")
    if meta.lower:
        lines.append(f"  Lower: {meta.lower}.")
    if meta.goes_with:
        lines.append(f"  Goes with {', '.join(f'`{name}`' for name in meta.goes_with)}.")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
