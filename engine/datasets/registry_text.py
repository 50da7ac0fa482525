"""A registry's JSON as text: one entry put in, changed or taken out, every other byte as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.decoder import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from engine.problem import BadInput, Problem

_BLANK = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class _Span:
    """Where an entry stands: its name from `key` on, its value in [start, stop)."""

    key: int
    start: int
    stop: int


def with_entry(
    text: str, name: str, entry: Mapping[str, Any], replace: bool, path: Path
) -> str:  # fmt: skip
    """A registry's text with one entry more, or with one in place of that name.

    Raises BadInput where the text is damaged or the name is taken.
    """
    mark, body = _parted(text)
    if not body.strip():
        return mark + json.dumps({name: entry}, ensure_ascii=False, indent=2) + "\n"
    spans, end = _spans(body, path)
    if name in spans:
        if not replace:
            raise taken(name, path)
        span = spans[name]
        new = body[: span.start] + _written(entry, body) + body[span.stop :]
    else:
        newline, indent = _style(body)
        before = body[:end].rstrip()
        comma = "," if spans else ""
        made = f"{json.dumps(name, ensure_ascii=False)}: {_written(entry, body)}"
        new = f"{before}{comma}{newline}{indent}{made}{newline}{body[end:]}"
    return mark + _checked(new, {**json.loads(body), name: dict(entry)}, path)


def with_change(
    text: str, name: str, entry: Mapping[str, Any], new_name: str, path: Path
) -> str:  # fmt: skip
    """A registry's text with the entry `name` changed and called `new_name`, where it stands. One
    that was written in a line stays in one.

    Raises BadInput where the text is damaged, there is no such entry, or the new name is taken.
    """
    mark, body = _parted(text)
    spans, _end = _spans(body, path)
    if name not in spans:
        raise gone(name, path)
    if new_name != name and new_name in spans:
        raise taken(new_name, path, "Choose another name.")
    span, old = spans[name], json.loads(body)
    value = body[span.start : span.stop]
    if old[name] != dict(entry) or list(old[name]) != list(entry):
        value = _written(entry, body, in_a_line="\n" not in value)
    key = body[span.key : span.start]
    if new_name != name:
        _same, behind = JSONDecoder().raw_decode(body, span.key)
        key = json.dumps(new_name, ensure_ascii=False) + body[behind : span.start]
    new = body[: span.key] + key + value + body[span.stop :]
    wanted = {new_name if one == name else one: value for one, value in old.items()}
    return mark + _checked(new, {**wanted, new_name: dict(entry)}, path)


def without_entry(text: str, name: str, path: Path) -> str:
    """A registry's text with one entry less.

    Raises BadInput where the text is damaged or there is no such entry.
    """
    mark, body = _parted(text)
    spans, end = _spans(body, path)
    if name not in spans:
        raise gone(name, path)
    places = list(spans)
    at, span = places.index(name), spans[name]
    if at + 1 < len(places):
        new = body[: span.key] + body[spans[places[at + 1]].key :]
    elif at:
        new = body[: spans[places[at - 1]].stop] + body[span.stop :]
    else:
        new = body[: span.key].rstrip() + body[end:]
    return mark + _checked(
        new, {one: value for one, value in json.loads(body).items() if one != name}, path
    )


def entries_in(text: str, path: Path) -> dict[str, Any]:
    """The entries as they stand, whatever they are. Raises BadInput where the text is damaged."""
    _mark, body = _parted(text)
    if not body.strip():
        return {}
    _spans(body, path)
    found: dict[str, Any] = json.loads(body)
    return found


_OVER = "Choose another name, or say that it is to be replaced."


def taken(name: str, path: Path, hint: str = _OVER) -> BadInput:
    return BadInput(Problem(f"There is a set {name!r} already.", str(path), hint, "dataset"))


def gone(name: str, path: Path) -> BadInput:
    return BadInput(
        Problem(f"There is no set {name!r} in {path.name}.", str(path), "Look again.", "dataset")
    )


def damaged(path: Path, reason: str) -> BadInput:
    what = f"{path.name} is damaged: {reason}. Nothing was changed."
    return BadInput(Problem(what, str(path), "Mend it first.", "dataset_dir"))


def _parted(text: str) -> tuple[str, str]:
    """The byte order mark, if there is one, and the rest."""
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    return mark, text[len(mark) :]


def _style(body: str) -> tuple[str, str]:
    """The line end and the indentation that a registry is written with."""
    found = re.match(r"\{\s*?\n([ \t]+)\"", body.lstrip())
    return "\r\n" if "\r\n" in body else "\n", found[1] if found else "  "


def _written(entry: Mapping[str, Any], body: str, in_a_line: bool = False) -> str:
    if in_a_line:
        return json.dumps(entry, ensure_ascii=False)
    newline, indent = _style(body)
    made = json.dumps(entry, ensure_ascii=False, indent=indent)
    return made.replace("\n", newline + indent)


def _checked(new: str, wanted: Mapping[str, Any], path: Path) -> str:
    found = json.loads(new)
    if found != wanted or list(found) != list(wanted):
        raise damaged(path, "it can't be changed without changing other entries")
    return new


def _spans(text: str, path: Path) -> tuple[dict[str, _Span], int]:
    """Where each entry stands in a registry's text, and where its last bracket does."""
    try:
        whole = json.loads(text)
    except (JSONDecodeError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, JSONDecodeError) else ""
        raise damaged(path, f"it is not valid JSON{line}") from None
    if not isinstance(whole, dict):
        raise damaged(path, "it is not one object of sets")
    decoder = JSONDecoder()
    spans: dict[str, _Span] = {}
    place = _skip(text, _skip(text, 0) + 1)
    while text[place] != "}":
        begin = place
        key, place = decoder.raw_decode(text, place)
        start = _skip(text, _skip(text, place) + 1)
        _value, place = decoder.raw_decode(text, start)
        if key in spans:
            raise damaged(path, f"it names {key!r} twice")
        spans[key] = _Span(begin, start, place)
        place = _skip(text, place)
        if text[place] == ",":
            place = _skip(text, place + 1)
    return spans, place


def _skip(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place
