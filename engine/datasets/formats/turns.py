"""What message lists have in common: whose turn it is, and where a list may end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from engine.datasets.dataset_info import Columns, DatasetInfo
from engine.datasets.example import Example, Message
from engine.datasets.formats.fields import RowFault, label_field, media_field, tools_field

_NAMES = {"user": "a user turn", "tool": "a tool result", "assistant": "an assistant turn"}


def check_order(messages: Sequence[Message], runs_of_tools: bool, answered: bool = True) -> None:
    """Raise RowFault unless the two sides take turns, the asking side first.

    Users and tool results ask, the assistant answers. `runs_of_tools` allows several results after
    one turn with several calls. `answered`: the list holds the answer too, so it may not end with
    a user turn (a tool result at the end is kept: the turns before it are still learnt).
    """
    if not messages:
        raise RowFault("there are no messages")
    if messages[0].role == "assistant":
        raise RowFault("the first turn is the assistant's")
    if messages[0].role == "tool":
        raise RowFault("the first turn is a tool result")
    for number, (before, after) in enumerate(pairwise(messages), 2):
        if "system" in (before.role, after.role):
            continue
        if runs_of_tools and before.role == after.role == "tool":
            continue
        if (before.role == "assistant") == (after.role == "assistant"):
            raise RowFault(
                f"turn {number} is {_NAMES[after.role]} right after {_NAMES[before.role]}"
            )
    for number, message in enumerate(messages, 1):
        empty = not message.content.strip() and not message.tool_calls and not message.thoughts
        if empty and message.role == "assistant":
            raise RowFault(f"turn {number}, the assistant's, is empty")
    last = messages[-1].role
    if answered and last == "user":
        raise RowFault("the last turn is the user's: there is no answer to it")
    if not answered and last == "assistant":
        raise RowFault("the prompt ends with an assistant turn")
    if answered and not any(message.role == "assistant" for message in messages):
        raise RowFault("there is no assistant turn")


def prompt_of_pair(row: Mapping[str, Any], columns: Columns) -> tuple[list[Any], dict[str, Any]]:
    """Of a pair of whole conversations: the turns that both share, and the row with the last turn
    of each as the answer. Hub sets come so: no column of their own holds the prompt.

    Raises RowFault unless both are lists that differ in the last turn only.
    """
    answers: dict[str, Any] = {}
    prompts = []
    for column in (columns.chosen, columns.rejected):
        value = row.get(column) if column is not None else None
        if not isinstance(value, list) or len(value) < 2:
            raise RowFault(f"{column!r} holds no prompt, and no column for one is named")
        answers[str(column)] = value[-1]
        prompts.append(value[:-1])
    if prompts[0] != prompts[1]:
        raise RowFault(f"{columns.chosen!r} and {columns.rejected!r} answer different prompts")
    return prompts[0], {**row, **answers}


def build(
    row: Mapping[str, Any],
    info: DatasetInfo,
    number: int,
    system: str,
    messages: Sequence[Message],
    answers: tuple[Message, Message] | None,
) -> Example:
    """The Example of a message list; `answers` are chosen and rejected of a preference row."""
    common: dict[str, Any] = {
        "messages": tuple(messages),
        "system": system,
        "tools": tools_field(row, info.columns.tools),
        "media": media_field(row, info.columns),
    }
    if answers is not None:
        return Example("preference", number, chosen=answers[0], rejected=answers[1], **common)
    if info.columns.kto_tag is not None:
        if messages[-1].role != "assistant":
            raise RowFault("the last turn is not the assistant's, so the label judges nothing")
        return Example("feedback", number, label=label_field(row, info.columns.kto_tag), **common)
    return Example("conversation", number, **common)
