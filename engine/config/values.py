"""One value: from a file or a keyboard into its type, and back into text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.config.catalogue import SettingInfo, settings
from engine.config.run_config import RunConfig
from engine.problem import BadInput, Problem

_TRUE = frozenset({"true", "yes", "on", "y", "1", "[x]"})
_FALSE = frozenset({"false", "no", "off", "n", "0", "[ ]", "[]"})
_EMPTY = frozenset({"", "null", "none", "~", "–", "-"})


class WrongValue(ValueError):
    """A value that does not fit its setting; the message ends the sentence "x is …: "."""


def coerce(info: SettingInfo, value: Any, text: str | None = None) -> Any:
    """A setting's value from what a file or override holds.

    `text` is how the value was written, where that is known: `model_revision: 1.0` is the text
    1.0, not a number. Raises WrongValue.
    """
    if value is None:
        if info.optional:
            return None
        if "none" in info.choices:
            return "none"
        raise WrongValue("it can't be empty (null)")
    if info.name == "resume_from_checkpoint" and isinstance(value, bool):
        return value
    result = _BY_KIND[info.kind](info, value, text)
    _check_bounds(info, result)
    return result


def _bool(info: SettingInfo, value: Any, text: str | None) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise WrongValue("expected true or false")


def _int(info: SettingInfo, value: Any, text: str | None) -> int:
    if isinstance(value, str) and value.count("*") == 1:
        # Sizes of pictures are often written as sides: 768*768.
        sides = [side.strip() for side in value.split("*")]
        if all(side.isascii() and side.isdigit() for side in sides):
            return int(sides[0]) * int(sides[1])
    number = _float(info, value, text, "a whole number")
    if number != int(number):
        raise WrongValue("expected a whole number")
    return value if type(value) is int else int(number)


def _float(info: SettingInfo, value: Any, text: str | None, expected: str = "a number") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise WrongValue(f"expected {expected}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise WrongValue(f"expected {expected}") from None
    if not math.isfinite(number):
        raise WrongValue(f"expected {expected}")
    return number


def _str(info: SettingInfo, value: Any, text: str | None) -> str:
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (list, tuple, dict)) or item is None for item in value):
            raise WrongValue("expected a text, or a plain list of names")
        return ",".join(str(item) for item in value)
    if isinstance(value, dict):
        raise WrongValue("expected a text")
    result = text if text is not None and not isinstance(value, str) else str(value)
    if "\0" in result:
        raise WrongValue("a text can't hold a zero byte")
    return result


def _choice(info: SettingInfo, value: Any, text: str | None) -> str:
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        # YAML reads a bare `no` as false.
        if not value and "no" in info.choices:
            return "no"
        if value and "all" in info.choices:
            return "all"
    word = str(value)
    if word in info.choices:
        return word
    if word.lower() in info.choices:
        return word.lower()
    raise WrongValue(f"expected {_listed(info.choices)}")


def _dict(info: SettingInfo, value: Any, text: str | None) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise WrongValue('expected a mapping such as {"min_lr": 1e-6}') from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise WrongValue("expected a mapping of names to values")
    return value


_BY_KIND: dict[str, Any] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _str,
    "choice": _choice,
    "dict": _dict,
}


def _listed(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _check_bounds(info: SettingInfo, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    low, high = info.bounds
    open_low, open_high = info.open_bounds
    if low is not None and (value < low or (open_low and value == low)):
        raise WrongValue(f"it must be {'above' if open_low else 'at least'} {bound(low)}")
    if high is not None and (value > high or (open_high and value == high)):
        raise WrongValue(f"it must be {'below' if open_high else 'at most'} {bound(high)}")


def bound(value: float) -> str:
    """A bound as it is typed: no digit of a whole number is lost."""
    return str(int(value)) if value == int(value) else f"{value:g}"


def shown(value: Any) -> str:
    """A value inside a sentence, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str) if value is not None else "null"
    return text if len(text) <= 60 else f"{text[:57]}…"


def wrong_value(name: str, value: Any, reason: str, where: str = "") -> Problem:
    """The problem of one value; a secret's value is never repeated."""
    info = settings().get(name)
    secret = info is not None and info.setting.secret
    said = "" if secret else f" is {shown(value)}"
    hint = f"Its default is {format_value(name, info.default) or 'empty'}." if info else ""
    return Problem(f"{name}{said}: {reason}.", where=where, hint=hint, setting=name)


def parse_value(name: str, text: str) -> Any:
    """The value that a person typed into the form. Raises BadInput saying what is expected."""
    info = _known(name)
    typed = text.strip()
    raw: Any = typed
    if typed.lower() in _EMPTY and (typed == "" or info.kind != "str"):
        if info.optional:
            return None
        if info.kind != "choice":
            raw = None if typed == "" and info.kind != "str" else typed
    if info.name == "resume_from_checkpoint" and typed.lower() in ("true", "false"):
        raw = typed.lower() == "true"
    if info.kind in ("int", "float"):
        raw = typed.replace("−", "-").replace(",", "") if raw is not None else None
    try:
        return coerce(info, raw)
    except WrongValue as wrong:
        raise BadInput(wrong_value(name, text, str(wrong))) from None


def format_value(name: str, value: Any) -> str:
    """A value as the form shows it: 1e-4, on, off, empty text for null."""
    info = _known(name)
    if value is None:
        return ""
    if isinstance(value, bool):
        word = "on" if value else "off"
        return ("true" if value else "false") if info.kind == "str" else word
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def format_number(value: float) -> str:
    """A number short and exact: 0.1, 3, 1e-4, 2.5e-5."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    if 1e-3 < abs(value) < 1e15:
        return repr(value)
    # repr gives the shortest digits that read back the same; only the exponent is tidied.
    digits, _, exponent = f"{value:.17e}".partition("e")
    for places in range(17):
        digits, _, exponent = f"{value:.{places}e}".partition("e")
        if float(f"{digits}e{exponent}") == value:
            break
    return f"{digits}e{int(exponent)}"


def with_value(config: RunConfig, name: str, value: Any) -> RunConfig:
    """The same run with one setting changed. Raises BadInput naming the setting."""
    info = _known(name)
    try:
        checked = coerce(info, value)
    except WrongValue as wrong:
        raise BadInput(wrong_value(name, value, str(wrong))) from None
    return replace(config, **{name: checked})


def written_settings(values: Mapping[str, Any]) -> RunConfig:
    """The run that `to_flat` wrote: each key a setting of today. Raises BadInput for another key.

    `read_flat` takes files of other tools and versions too, and costs the first frame more.
    """
    checked: dict[str, Any] = {}
    for name, value in values.items():
        info = _known(name)
        try:
            checked[name] = coerce(info, value)
        except WrongValue as wrong:
            raise BadInput(wrong_value(name, value, str(wrong))) from None
    made: Any = RunConfig
    config: RunConfig = made(**checked)
    return config


def _known(name: str) -> SettingInfo:
    info = settings().get(name)
    if info is None:
        raise BadInput(Problem(f"There is no setting {name}.", setting=name))
    return info
