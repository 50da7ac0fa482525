"""Reading a row's fields, each fault in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.datasets.dataset_info import Columns
from engine.datasets.medium import Kind, Medium


class RowFault(Exception):
    """Why a row can't be used, for a person."""


def text_field(row: Mapping[str, Any], column: str | None, needed: bool = False) -> str:
    """The text of a column; "" where it is absent, null or not asked for."""
    value = row.get(column) if column is not None else None
    if value is None:
        if needed:
            raise RowFault(f"there is no {column!r}")
        return ""
    if not isinstance(value, str):
        raise RowFault(f"{column!r} holds {shown(value)}, not text")
    return value


def label_field(row: Mapping[str, Any], column: str) -> bool:
    """The good-or-bad label of a feedback row."""
    value = row.get(column)
    if isinstance(value, bool):
        return value
    # CSV has only text, and some exporters write 0 and 1.
    words = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise RowFault(f"{column!r} must be true or false, not {shown(value)}")
    return found


def tools_field(row: Mapping[str, Any], column: str | None) -> tuple[Mapping[str, Any], ...]:
    """Tool descriptions, a JSON string or a list, in the shape that chat templates take."""
    value = row.get(column) if column is not None else None
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RowFault(f"{column!r} is not valid JSON: {error.msg}") from None
        except (ValueError, RecursionError):
            raise RowFault(f"{column!r} is no JSON that can be read") from None
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise RowFault(f"{column!r} must be a list of tool descriptions")
    tools = tuple(
        tool
        if isinstance(tool.get("function"), Mapping)
        else {"type": "function", "function": tool}
        for tool in value
    )
    for tool in tools:
        if not isinstance(tool["function"].get("name"), str):
            raise RowFault(f"a tool in {column!r} has no name: {shown(tool['function'])}")
    return tools


def media_field(row: Mapping[str, Any], columns: Columns) -> tuple[Medium, ...]:
    """Pictures, videos and sounds, in the order of the columns."""
    held: tuple[tuple[Kind, str | None], ...] = (
        ("image", columns.images), ("video", columns.videos), ("audio", columns.audios)
    )  # fmt: skip
    found: list[Medium] = []
    for kind, column in held:
        value = row.get(column) if column is not None else None
        if value is None:
            continue
        items = value if isinstance(value, list) else [value]
        found += [Medium(kind, medium_name(item, kind)) for item in items]
    return tuple(found)


def medium_name(item: Any, kind: Kind) -> str:
    """The path of a medium: as the row has it, or of the file that its bytes become."""
    if isinstance(item, str) and item[:5].lower() != "data:":
        return item
    from engine.datasets.media.embedded import name_of

    return name_of(item, kind)


def tool_call(value: Any) -> dict[str, Any]:
    """One call as chat templates take it: `{"type", "function": {"name", "arguments"}}`."""
    inner = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise RowFault(f"a tool call has no name: {shown(value)}")
    arguments = inner.get("arguments", {})
    if isinstance(arguments, str):
        # OpenAI writes the arguments as JSON in a string; templates want the object.
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            raise RowFault(
                f"the arguments of the call {inner['name']!r} are not valid JSON"
            ) from None
    call = {"type": "function", "function": {"name": inner["name"], "arguments": arguments}}
    if isinstance(value.get("id"), str):
        call["id"] = value["id"]
    return call


def shown(value: Any) -> str:
    """A value, short, for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        text = f"a deep {type(value).__name__}"
    return text if len(text) <= 60 else text[:59] + "…"
