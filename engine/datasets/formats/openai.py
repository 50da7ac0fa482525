"""openai: `messages` with role and content, tool calls and tool results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.datasets.dataset_info import DatasetInfo, Tags
from engine.datasets.example import Example, Message
from engine.datasets.formats.fields import RowFault, medium_name, shown, text_field, tool_call
from engine.datasets.formats.turns import build, check_order, prompt_of_pair
from engine.datasets.medium import KINDS, PLACEHOLDERS, Kind, Medium, times, words

# How a part of a turn's content is typed, and where it may have its path.
_PARTS: dict[str, Kind] = {
    "image": "image", "image_url": "image", "video": "video", "video_url": "video",
    "audio": "audio", "audio_url": "audio", "input_audio": "audio",
}  # fmt: skip
_PATH_KEYS = ("path", "url")
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def convert(row: Mapping[str, Any], info: DatasetInfo, number: int) -> Example:
    """Turns in order. The registry's tags name the fields; the published roles always hold."""
    column = info.columns.messages
    value = row.get(column) if column is not None else None
    if column is None and info.ranking:
        value, row = prompt_of_pair(row, info.columns)
    if not isinstance(value, list):
        raise RowFault(f"{column!r} is {'missing' if value is None else 'not a list of messages'}")
    media = _media(value)
    messages = [_message(item, info.tags, f"turn {place}") for place, item in enumerate(value, 1)]
    system = text_field(row, info.columns.system)
    if messages and messages[0].role == "system":
        system = messages.pop(0).content
    check_order(messages, runs_of_tools=True, answered=not info.ranking)
    answers = None
    if info.ranking:
        answers = (
            _answer(row, info.columns.chosen, info.tags),
            _answer(row, info.columns.rejected, info.tags),
        )
    example = build(row, info, number, system, messages, answers)
    _check_files(value, media or example.media)
    if not media:
        return example
    if example.media:
        told = words({one.kind for one in (*media, *example.media)})
        raise RowFault(f"its {told} stand both in its turns and in a column")
    return replace(example, media=media)


def _answer(row: Mapping[str, Any], column: str | None, tags: Tags) -> Message:
    value = row.get(column) if column is not None else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        raise RowFault(f"there is no {column!r}")
    if isinstance(value, str):
        message = Message("assistant", value)
    else:
        message = _message(value, tags, f"{column!r}")
    if message.role != "assistant":
        raise RowFault(f"{column!r} is not an assistant turn")
    if not message.content.strip() and not message.tool_calls:
        raise RowFault(f"{column!r} is empty")
    return message


def _message(item: Any, tags: Tags, name: str) -> Message:
    if not isinstance(item, Mapping):
        raise RowFault(f"{name} is {shown(item)}, not a message")
    given = item.get(tags.role_tag or "role")
    content = _content(item.get(tags.content_tag or "content"), name)
    if tags.function_tag is not None and given == tags.function_tag:
        return Message("assistant", "", tuple(tool_call(call) for call in _calls(content, name)))
    named = {
        tags.user_tag: "user",
        tags.assistant_tag: "assistant",
        tags.observation_tag: "tool",
        tags.system_tag: "system",
    }
    role = (named.get(given) or _ROLES.get(given)) if isinstance(given, str) else None
    if role is None:
        raise RowFault(f"{name} has no known role ({shown(given)})")
    calls = item.get("tool_calls") or ()
    if item.get("function_call"):
        # The form before tool_calls.
        calls = [item["function_call"]]
    if not isinstance(calls, (list, tuple)):
        raise RowFault(f"the tool calls of {name} are not a list")
    thoughts = item.get("reasoning_content") or item.get("reasoning") or item.get("thinking") or ""
    if not isinstance(thoughts, str):
        raise RowFault(f"the reasoning of {name} is not text")
    called = item.get("name")
    return Message(
        role,  # type: ignore[arg-type]
        content,
        tuple(tool_call(call) for call in calls) if role == "assistant" else (),
        thoughts if role == "assistant" else "",
        called if isinstance(called, str) and role == "tool" else "",
    )


def _calls(content: str, name: str) -> list[Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise RowFault(f"{name}, a function call, is not valid JSON: {shown(content)}") from None
    return value if isinstance(value, list) else [value]


def _content(value: Any, name: str) -> str:
    """Text, or a list of parts; null beside a tool call is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, name) for part in value)
    raise RowFault(f"{name} holds {shown(value)}, not text")


def _media(turns: list[Any]) -> tuple[Medium, ...]:
    """The media that turns hold as parts with a path of their own, in order. Parts that only
    mark the place of one (as the hub's sets have them) take theirs from the row's column."""
    found: list[Medium] = []
    for turn in turns:
        content = turn.get("content") if isinstance(turn, Mapping) else None
        for part in content if isinstance(content, list) else ():
            kind = _kind(part)
            if kind is None:
                continue
            keys = (part["type"], kind, f"{kind}_url", *_PATH_KEYS)
            named = next((part[key] for key in keys if part.get(key)), None)
            if isinstance(named, Mapping):
                held = named.get("data") or named.get("bytes")  # OpenAI's sounds, the hub's media
                named = {"bytes": held} if held else named.get("url") or named.get("path")
            if isinstance(named, str):
                named = named.removeprefix("file://")
            if named:
                found.append(Medium(kind, medium_name(named, kind)))
    return tuple(found)


def _check_files(turns: list[Any], media: tuple[Medium, ...]) -> None:
    """Raise RowFault where a turn has a part of a kind whose file stands nowhere in the row."""
    for kind in KINDS:
        placed = sum(
            _kind(part) == kind
            for turn in turns
            if isinstance(turn, Mapping) and isinstance(turn.get("content"), list)
            for part in turn["content"]
        )
        given = sum(one.kind == kind for one in media)
        if placed > given:
            raise RowFault(f"its turns hold {times(placed, kind)}, and it names {given} files")


def _part(part: Any, name: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        text = part.get("text")
        if isinstance(text, str):
            return text
        kind = _kind(part)
        if kind is not None:
            return PLACEHOLDERS[kind]
        raise RowFault(f"{name} holds {shown(part.get('type'))}, which is no part known here")
    raise RowFault(f"{name} holds {shown(part)}, not text")


def _kind(part: Any) -> Kind | None:
    given = part.get("type") if isinstance(part, Mapping) else None
    return _PARTS.get(given) if isinstance(given, str) else None
