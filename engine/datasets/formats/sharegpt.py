"""sharegpt: one message list a row, the sides taking turns, roles named by the registry's tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.datasets.dataset_info import DatasetInfo, Tags
from engine.datasets.example import Example, Message
from engine.datasets.formats.fields import RowFault, shown, text_field, tool_call
from engine.datasets.formats.turns import build, check_order, prompt_of_pair


def convert(row: Mapping[str, Any], info: DatasetInfo, number: int) -> Example:
    """Turns in order; a function-call turn becomes an assistant turn with tool calls."""
    column = info.columns.messages
    value = row.get(column) if column is not None else None
    if column is None and info.ranking:
        value, row = prompt_of_pair(row, info.columns)
    if not isinstance(value, list):
        raise RowFault(f"{column!r} is {'missing' if value is None else 'not a list of messages'}")
    messages = [_message(item, info.tags, place) for place, item in enumerate(value, 1)]
    system = text_field(row, info.columns.system)
    if messages and messages[0].role == "system":
        system = messages.pop(0).content
    check_order(messages, runs_of_tools=False, answered=not info.ranking)
    answers = None
    if info.ranking:
        answers = (
            _answer(row, info.columns.chosen, info.tags),
            _answer(row, info.columns.rejected, info.tags),
        )
    return build(row, info, number, system, messages, answers)


def _answer(row: Mapping[str, Any], column: str | None, tags: Tags) -> Message:
    value = row.get(column) if column is not None else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        raise RowFault(f"there is no {column!r}")
    if isinstance(value, str):
        message = Message("assistant", value)
    else:
        message = _message(value, tags, 0, column)
    if message.role != "assistant":
        raise RowFault(f"{column!r} is not an assistant turn")
    if not message.content.strip() and not message.tool_calls:
        raise RowFault(f"{column!r} is empty")
    return message


def _message(item: Any, tags: Tags, place: int, column: str | None = None) -> Message:
    name = f"turn {place}" if column is None else f"{column!r}"
    if not isinstance(item, Mapping):
        raise RowFault(f"{name} is {shown(item)}, not a message")
    role = item.get(tags.role_tag or "")
    if role is None:
        raise RowFault(f"{name} has no role ({tags.role_tag!r})")
    content = item.get(tags.content_tag or "")
    if not isinstance(content, str):
        raise RowFault(
            f"{name} has no text ({tags.content_tag!r})"
            if content is None
            else f"{name} holds {shown(content)}, not text"
        )
    if role == tags.user_tag:
        return Message("user", content)
    if role == tags.assistant_tag:
        return Message("assistant", content)
    if role == tags.observation_tag:
        return Message("tool", content)
    if role == tags.function_tag:
        return _call(content, name)
    if role == tags.system_tag:
        if place > 1:
            raise RowFault(f"{name} is a system turn; only the first may be one")
        return Message("system", content)
    raise RowFault(f"{name} has the role {shown(role)}, which the registry's tags do not name")


def _call(content: str, name: str) -> Message:
    """A function-call turn: JSON, one call or a list. Text before it is kept beside the calls."""
    for start in _openings(content):
        try:
            value = json.loads(content[start:])
        except (ValueError, RecursionError):
            continue
        calls = value if isinstance(value, list) else [value]
        if calls:
            return Message(
                "assistant", content[:start].strip(), tuple(tool_call(call) for call in calls)
            )
    raise RowFault(f"{name}, a function call, is not valid JSON: {shown(content)}")


def _openings(content: str) -> list[int]:
    """Where JSON could begin: at a bracket that opens a line, or the text."""
    places = [0] if content.lstrip()[:1] in ("{", "[") else []
    position = 0
    for line in content.splitlines(keepends=True):
        if position and line.lstrip()[:1] in ("{", "["):
            places.append(position)
        position += len(line)
    inline = content.find("{")
    places = [*places, inline] if inline > 0 else places
    # Each is tried: a text of nothing but brackets has too many.
    return places[:1000]
