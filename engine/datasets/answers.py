"""Where the answers stand in a rendered conversation: found by rendering with and without each.

The trained part of turn i is what `render(turns[:i+1])` adds to `render(turns[:i])` with the
generation prompt: the answer and the end of its turn. Templates that rewrite earlier turns (they
strip thoughts, for one) break those prefixes; there a stand-in answer shows the place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.datasets.chat_format import RENDER_ERRORS, ChatFormat
from engine.datasets.formats.fields import RowFault

_STAND_IN = "sTaNdInAnSwEr"
Turns = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Span:
    """One answer in the rendered text: characters `start` to `end`, of turn `turn`."""

    turn: int
    start: int
    end: int


def rendered_answers(chat: ChatFormat, turns: Turns, tools: Tools) -> tuple[str, list[Span]]:
    """The text of a conversation and its answers, in order.

    Raises RowFault where the template refuses the row, drops an answer or hides its place.
    """
    full = _render(chat, turns, tools)
    spans: list[Span] = []
    for turn, message in enumerate(turns):
        if message["role"] != "assistant":
            continue
        span = _span(chat, full, turns, turn, tools)
        if spans and span.start < spans[-1].end:
            raise RowFault(
                f"the template mixes up the answers of turns {spans[-1].turn + 1} and {turn + 1}"
            )
        _check_kept(message, full[span.start : span.end], turn)
        spans.append(span)
    return full, spans


def header_start(chat: ChatFormat, turns: Turns, tools: Tools, span: Span) -> int:
    """Where the words that open the answer's turn begin (`<|im_start|>assistant`), in characters.

    The answer's own start where the template opens it without any.
    """
    before = turns[: span.turn]
    asked = _render(chat, before, tools)
    opened = _render(chat, before, tools, add_generation_prompt=True)
    if not opened.startswith(asked):
        return span.start
    return max(0, span.start - (len(opened) - len(asked)))


def _span(chat: ChatFormat, full: str, turns: Turns, turn: int, tools: Tools) -> Span:
    before = turns[:turn]
    prompt = _render(chat, before, tools, add_generation_prompt=True)
    if chat.way is not None and chat.way.empty and not full.startswith(prompt):
        # An empty thought is asked for, but stands in no earlier turn.
        prompt = prompt.removesuffix(chat.way.empty)
    last = turn == len(turns) - 1
    whole = full if last else _render(chat, turns[: turn + 1], tools)
    if full.startswith(prompt) and full.startswith(whole) and len(prompt) < len(whole):
        return Span(turn, len(prompt), len(whole))
    stand_in = {"role": "assistant", "content": _STAND_IN}
    head, tail = _around(chat, [*before, stand_in, *turns[turn + 1 :]], tools, turn)
    content_end = len(full) - len(tail)
    if full.startswith(prompt):
        start = len(prompt)
    elif full.startswith(head):
        start = len(head)
    else:
        raise RowFault(f"the template rewrites what comes before the answer of turn {turn + 1}")
    if not full.endswith(tail) or content_end < start:
        raise RowFault(f"the template rewrites what comes after the answer of turn {turn + 1}")
    _, closing = _around(chat, [*before, stand_in], tools, turn)
    shared = _common(closing, full[content_end:])
    # Two marks that only begin alike (`</s>`, `<|user|>`) are not one.
    opened = closing.rfind("<", 0, shared)
    if shared < len(closing) and opened >= 0 and ">" not in closing[opened:shared]:
        shared = opened
    return Span(turn, start, content_end + shared)


def _around(chat: ChatFormat, turns: Turns, tools: Tools, turn: int) -> tuple[str, str]:
    """The text before and after the stand-in answer."""
    head, found, tail = _render(chat, turns, tools).partition(_STAND_IN)
    if not found:
        raise RowFault(f"the template drops the answer of turn {turn + 1}")
    return head, tail


def _common(one: str, other: str) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def _check_kept(message: Mapping[str, Any], answer: str, turn: int) -> None:
    """Raise RowFault unless the answer's words and calls stand in its rendered part."""
    # Templates may strip the thoughts before the last </think>; the answer itself must stay.
    content = str(message.get("content") or "").split("</think>")[-1].strip()
    if content not in answer:
        raise RowFault(f"the template drops or alters the answer of turn {turn + 1}")
    for call in message.get("tool_calls") or ():
        if call["function"]["name"] not in answer:
            raise RowFault(f"the template drops the tool call of turn {turn + 1}")


def _render(
    chat: ChatFormat, turns: Turns, tools: Tools, add_generation_prompt: bool = False
) -> str:
    try:
        return chat.render(turns, tools, add_generation_prompt)
    except RENDER_ERRORS as error:
        raise RowFault(f"the model's template refuses the row: {error}") from None
