"""JSON objects that name a key twice: the last one wins, as JSON has it, but it is told."""

from __future__ import annotations

import json
import threading
from typing import Any


class RepeatingRow(dict[str, Any]):
    """A row in which a key stands twice in one object; `repeated` are those keys, in order."""

    repeated: tuple[str, ...] = ()


_found = threading.local()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        _found.any = True
        seen: set[str] = set()
        twice = RepeatingRow(made)
        twice.repeated = tuple(
            dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        )
        return twice
    return made


_decoder = json.JSONDecoder(object_pairs_hook=_object)


def parse(text: str) -> Any:
    """As `json.loads`, but a row, or a row of a list, with a repeated key is a `RepeatingRow`."""
    _found.any = False
    value = _decoder.decode(text)
    if not _found.any:
        return value
    if isinstance(value, list):
        return [_marked(row) for row in value]
    return _marked(value)


def _marked(row: Any) -> Any:
    """The row, telling of repeated keys in whatever it holds."""
    keys = tuple(dict.fromkeys(_within(row)))
    if not keys or not isinstance(row, dict):
        return row
    marked = RepeatingRow(row)
    marked.repeated = keys
    return marked


def _within(value: Any) -> list[str]:
    if isinstance(value, list):
        return [key for item in value for key in _within(item)]
    if not isinstance(value, dict):
        return []
    own = list(value.repeated) if isinstance(value, RepeatingRow) else []
    return own + [key for item in value.values() for key in _within(item)]
