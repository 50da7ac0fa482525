"""From a flat file and overrides to a RunConfig, with every problem told at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.catalogue import settings
from engine.config.check import remarks
from engine.config.later_values import LATER_VALUES
from engine.config.run_config import RunConfig
from engine.config.sources import Item, Items, items_of_text, override_items, read_items
from engine.config.trainer_keys import PASSED_ON, passed_value
from engine.config.translate import CantTranslate, today
from engine.config.treatment import absent_keys, treatments
from engine.config.values import WrongValue, coerce, shown, wrong_value
from engine.problem import BadSettings, Problem


@dataclass(frozen=True)
class Read:
    """A run that was read, and its notes: a line for each key that was translated or is not
    needed, and for values that may run but are seldom meant (`remarks`)."""

    config: RunConfig
    notes: tuple[str, ...]


def read_file(path: Path, overrides: Sequence[str] = ()) -> Read:
    """The run that a flat YAML or JSON file describes; overrides win over the file.

    Raises BadSettings with every problem: unknown keys, what isn't here, wrong values. The rules
    between settings are `check`'s.
    """
    return _assemble(read_items(Path(path)), overrides)


def read_text(text: str, source: str = "text", is_json: bool = False) -> Read:
    """The run that YAML (or JSON) text describes. Raises like `read_file`."""
    return _assemble(items_of_text(text, source, is_json))


def read_flat(
    mapping: Mapping[str, Any], source: str = "settings", overrides: Sequence[str] = ()
) -> Read:
    """The run that a flat mapping describes; `source` names it in messages."""
    items = [Item(str(key), value, None, source) for key, value in mapping.items()]
    return _assemble(Items(items), overrides)


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """The plain values of `key=value` words. Raises BadSettings for a word that is none."""
    items = override_items(words)
    if items.problems:
        raise BadSettings(items.problems)
    return {item.key: item.value for item in items.found}


@dataclass
class _Gathered:
    """What has been read so far."""

    values: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    # Today's key → the item that set it, to tell an old and a new name apart from an override.
    origin: dict[str, tuple[str, str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def _assemble(written: Items, words: Sequence[str] = ()) -> Read:
    overrides = override_items(words)
    gathered = _Gathered()
    for items in (written, overrides):
        gathered.problems.extend(items.problems)
        gathered.origin = {}
        for item in items.found:
            _take(item, gathered)
    _settle_warmup(overrides.found, gathered)
    if gathered.problems:
        raise BadSettings(gathered.problems)
    config = RunConfig(**gathered.values, trainer_extra=gathered.extra)
    gathered.notes.extend(str(remark) for remark in remarks(config))
    return Read(config, tuple(gathered.notes))


def _take(item: Item, gathered: _Gathered) -> None:
    """One item: translated, accepted at its default, refused, or set."""
    try:
        renamed = today(item.key, item.value)
    except CantTranslate as fault:
        gathered.problems.append(
            Problem(
                f"{item.key} is {shown(item.value)}: {fault}.", where=item.where, setting=item.key
            )
        )
        return
    if renamed is None:
        _set(item.key, item.value, item.text, item, gathered)
        return
    becomes, note = renamed
    gathered.notes.append(f"{item.key} {note}.")
    for key, value in becomes.items():
        _set(key, value, item.text if key == item.key else None, item, gathered)


def _set(key: str, value: Any, text: str | None, item: Item, gathered: _Gathered) -> None:
    known = settings()
    if key not in known and key not in PASSED_ON:
        _refuse(key, value, item, gathered)
        return
    earlier = gathered.origin.get(key)
    if earlier is not None and earlier[2] != value:
        secret = key in known and known[key].setting.secret
        values = "" if secret else f", to {shown(earlier[2])} and {shown(value)}"
        gathered.problems.append(
            Problem(
                f"{earlier[0]} and {item.key} both set {key}{values}.",
                where=item.where,
                hint=f"Keep {key}.",
                setting=key,
            )
        )
        return
    gathered.origin[key] = (item.key, item.where, value)
    if key in PASSED_ON:
        try:
            passed = passed_value(key, value)
        except ValueError as fault:
            gathered.problems.append(wrong_value(key, value, str(fault), item.where))
            return
        if passed == PASSED_ON[key][1]:
            gathered.extra.pop(key, None)
        else:
            gathered.extra[key] = passed
        return
    later = _later_value(key, value)
    if later:
        gathered.problems.append(
            Problem(f"{key} is {shown(value)}: {later}.", where=item.where, setting=key)
        )
        return
    try:
        result = coerce(known[key], value, text)
    except WrongValue as fault:
        gathered.problems.append(wrong_value(key, value, str(fault), item.where))
        return
    gathered.values[key] = result


def _later_value(key: str, value: Any) -> str:
    """Why a value isn't here (yet); empty where it isn't such a one."""
    later = LATER_VALUES.get(key)
    if not later:
        return ""
    words = value if isinstance(value, list) else str(value).split(",")
    return next((later[str(word).strip()] for word in words if str(word).strip() in later), "")


def _refuse(key: str, value: Any, item: Item, gathered: _Gathered) -> None:
    """A key that is not here (yet), accepted at its default; or one that nobody knows."""
    absent = absent_keys().get(key)
    if absent is not None:
        group, default, yet = absent
        same = default if isinstance(default, tuple) else (default,)
        if any(at_default(value, one) for one in same):
            gathered.notes.append(f"{key} stands at its default and is left out.")
            return
        here = "isn't here yet" if yet else "isn't here"
        gathered.problems.append(
            Problem(
                f"{key} {here}: it belongs to {group.what}.",
                where=item.where,
                hint=group.instead,
                setting=key,
            )
        )
        return
    near = _nearest(key, treatments())
    gathered.problems.append(
        Problem(
            f"There is no setting {key}.",
            where=item.where,
            hint=f"Did you mean {near}?" if near else "finetui settings lists them all.",
            setting=key,
        )
    )


def _nearest(word: str, known: Mapping[str, Any]) -> str:
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def at_default(value: Any, default: Any) -> bool:
    """Whether a written value means a key's default; null always does.

    Numbers may be written as text (1e-6) or as a product (768*768).
    """
    if value is None or value == "":
        return True
    if isinstance(default, bool):
        return value is default or str(value).strip().lower() == str(default).lower()
    if isinstance(default, (int, float)):
        number = _number(value)
        return number is not None and number == default
    return default is not None and str(value).strip() == str(default)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    product = re.fullmatch(r"\s*(\d+)\s*\*\s*(\d+)\s*", str(value))
    if product:
        return float(int(product[1]) * int(product[2]))
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _settle_warmup(overrides: list[Item], gathered: _Gathered) -> None:
    """Steps win over a ratio in one source; an override of either wins over the file's other."""
    values = gathered.values
    said = {item.key for item in overrides} & {"warmup_steps", "warmup_ratio"}
    if said == {"warmup_ratio"} and values.get("warmup_steps"):
        values["warmup_steps"] = 0
        gathered.notes.append("warmup_ratio on the command line wins over the file's warmup_steps.")
    elif values.get("warmup_steps") and values.get("warmup_ratio"):
        gathered.notes.append("warmup_steps is above 0 and wins over warmup_ratio.")
