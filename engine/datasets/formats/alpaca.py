"""alpaca: instruction, input, output; or chosen and rejected; or a label beside the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.example import Example, Message
from engine.datasets.formats.fields import (
    RowFault,
    label_field,
    media_field,
    shown,
    text_field,
    tools_field,
)


def convert(row: Mapping[str, Any], info: DatasetInfo, number: int) -> Example:
    """The user turn is instruction, newline, input; history pairs come before it."""
    columns = info.columns
    parts = [text_field(row, columns.prompt), text_field(row, columns.query)]
    prompt = "\n".join(part for part in parts if part)
    if not prompt.strip():
        column = columns.prompt
        if column is None:
            raise RowFault("the registry names no column for the question")
        raise RowFault(
            f"there is no question ({column!r} is {'empty' if column in row else 'missing'})"
        )
    messages = [*_history(row, columns.history), Message("user", prompt)]
    common: dict[str, Any] = {
        "system": text_field(row, columns.system),
        "tools": tools_field(row, columns.tools),
        "media": media_field(row, columns),
    }
    if info.ranking:
        chosen, rejected = (
            Message("assistant", _answer(row, column))
            for column in (columns.chosen, columns.rejected)
        )
        return Example(
            "preference", number, tuple(messages), chosen=chosen, rejected=rejected, **common
        )
    messages.append(Message("assistant", _answer(row, columns.response)))
    if columns.kto_tag is not None:
        label = label_field(row, columns.kto_tag)
        return Example("feedback", number, tuple(messages), label=label, **common)
    return Example("conversation", number, tuple(messages), **common)


def _answer(row: Mapping[str, Any], column: str | None) -> str:
    text = text_field(row, column)
    if not text.strip():
        if column is None:
            raise RowFault("the registry names no column for the answer")
        raise RowFault(
            f"there is no answer ({column!r} is {'empty' if column in row else 'missing'})"
        )
    return text


def _history(row: Mapping[str, Any], column: str | None) -> list[Message]:
    value = row.get(column) if column is not None else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowFault(f"{column!r} must be a list of [question, answer] pairs")
    messages: list[Message] = []
    for pair in value:
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not all(isinstance(text, str) and text.strip() for text in pair)
        ):
            raise RowFault(f"{column!r} holds {shown(pair)}, not a [question, answer] pair")
        messages += [Message("user", pair[0]), Message("assistant", pair[1])]
    return messages
