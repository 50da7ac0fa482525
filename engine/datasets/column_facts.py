"""What the columns of a set hold, made out from the values of its first rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from engine.datasets.draft import ColumnFacts
from engine.datasets.formats.fields import shown
from engine.datasets.tables import plain_value

ROLE_KEYS = ("role", "from", "speaker", "sender", "author")
CONTENT_KEYS = ("content", "value", "text", "message", "utterance")


def facts_of(rows: Sequence[Mapping[str, Any]]) -> tuple[ColumnFacts, ...]:
    """What each column of these rows holds, in the order in which they are met."""
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = []
    for name in names:
        values = [row[name] for row in rows if row.get(name) not in (None, "", [])]
        kinds = Counter(map(_kind, values)).most_common(2)
        kind = kinds[0][0] if kinds else "empty"
        if len(kinds) > 1 and {k for k, _ in kinds} <= {"text", "json"}:
            kind = "text"
        if values and kind in ("text", "number"):
            words = {str(value).strip().lower() for value in values}
            kind = "true or false" if words <= {"true", "false", "0", "1"} else kind
        first = shown(plain_value(values[0])) if values else ""
        found.append(ColumnFacts(name, kind, len(values), first))
    return tuple(found)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "json" if value.lstrip()[:2] in ("[{", "[]", '{"') and _is_json(value) else "text"
    if _is_file(value):
        return "file"
    if isinstance(value, Mapping):
        return "message" if is_message(value) else "object"
    if not isinstance(value, list):
        return "other"
    if value and all(map(_is_file, value)):
        return "list of files"
    if value and all(isinstance(item, Mapping) for item in value):
        return "messages" if is_message(value[0]) else "list of objects"
    if value and all(isinstance(item, str) for item in value):
        return "list of text"
    if value and all(isinstance(item, list) and len(item) == 2 for item in value):
        return "pairs"
    return "list"


def _is_file(value: Any) -> bool:
    """Whether it is a file inside the data, as its bytes or as `datasets` writes it."""
    return isinstance(value, bytes) or (
        isinstance(value, Mapping) and set(value) == {"bytes", "path"}
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def is_message(value: Mapping[str, Any]) -> bool:
    """Whether an object is a turn of a conversation."""
    return any(isinstance(value.get(key), str) for key in ROLE_KEYS) and (
        any(key in value for key in CONTENT_KEYS) or "tool_calls" in value
    )
