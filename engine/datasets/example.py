"""A checked row: the one shape that every dataset format becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.datasets.medium import Medium

Role = Literal["user", "assistant", "system", "tool"]
Kind = Literal["conversation", "preference", "feedback", "text"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `tool_calls` are `{"type": "function", "function": {"name", "arguments"}}`.

    `thoughts` is reasoning kept apart from the answer (OpenAI's `reasoning_content`).
    """

    role: Role
    content: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    thoughts: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a dataset, converted. `source_row` counts from 1.

    `messages` hold user, assistant, tool and later system turns; the opening system text stands in
    `system`. A preference row has its prompt in `messages` and the answers in `chosen` and
    `rejected`; a feedback row is a conversation with a `label`; a text row has only `text`.
    `media` lists the pictures, videos and sounds that the row points to, those of a kind in the
    order of their placeholders.
    """

    kind: Kind
    source_row: int
    messages: tuple[Message, ...] = ()
    system: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    chosen: Message | None = None
    rejected: Message | None = None
    label: bool | None = None
    text: str = ""
    media: tuple[Medium, ...] = ()


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that can't be used: its dataset, its number (from 1) and the reason, in words."""

    dataset: str
    row: int
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset}, row {self.row:,}: {self.reason}"
