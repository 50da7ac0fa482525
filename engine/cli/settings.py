"""`finetui settings`: the reference of every setting, generated from the declarations."""

from __future__ import annotations

import typer

from engine.cli.output import output
from engine.config import SettingInfo


def settings(
    name: str = typer.Argument("", help="One setting, or part of its name; without it, all."),
    keys: bool = typer.Option(
        False, "--keys", help="What becomes of every key that people's files hold."
    ),
) -> int:
    """Print every setting: its type, default, bounds and meaning (Markdown)."""
    if keys:
        return _all_keys(name)
    from engine.config import settings as every

    found = [info for key, info in every().items() if name.lower() in key]
    if not found:
        return _all_keys(name)
    section = ""
    for info in sorted(found, key=lambda info: _order(info)):
        if info.setting.section != section:
            section = info.setting.section
            output().say(f"\n## {section}\n")
        _print(info)
    return 0


def _order(info: SettingInfo) -> int:
    from engine.config.catalogue import SECTIONS

    section = info.setting.section
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _print(info: SettingInfo) -> None:
    meta = info.setting
    facts = [info.type_text if not info.choices else "one of " + ", ".join(info.choices)]
    facts.append(f"default {_text(info.default)}")
    low, high = info.bounds
    if low is not None or high is not None:
        below = "" if low is None else f"{'above' if info.open_bounds[0] else 'from'} {low:g}"
        above = "" if high is None else f"{'below' if info.open_bounds[1] else 'to'} {high:g}"
        facts.append(" ".join(part for part in (below, above) if part))
    if meta.unit:
        facts.append(meta.unit)
    if meta.own:
        facts.append("finetui's own")
    if meta.secret:
        facts.append("read, never written")
    out = output()
    out.say(f"- `{info.name}` ({'; '.join(facts)}): {meta.help}")
    for label, text in (("higher", meta.higher), ("lower", meta.lower), ("usual", meta.usual)):
        if text:
            out.say(f"  - {label}: {text}")
    if meta.goes_with:
        out.say(f"  - goes with: {', '.join(meta.goes_with)}")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value) or '""'


def _all_keys(name: str) -> int:
    from engine.config import treatments
    from engine.problem import BadInput, Problem

    found = {key: item for key, item in treatments().items() if name.lower() in key}
    if not found:
        raise BadInput(
            Problem(f"No setting's name holds {name}.", hint="finetui settings lists them all.")
        )
    for key, item in sorted(found.items()):
        output().say(f"- `{key}` ({item.kind}): {item.text}")
    return 0
