"""Answers found in one rendering, where a template writes each turn as words round its content.

Most templates do. `engine.datasets.answers` renders a conversation once or twice for each of its
answers; here that is done once for all conversations of the same roles, with stand-ins for what is
said. A conversation whose own text is not exactly those words round its contents is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.datasets.answers import Span, Turns, rendered_answers
from engine.datasets.chat_format import RENDER_ERRORS, ChatFormat
from engine.datasets.formats.fields import RowFault

_MOST_SHAPES = 1000


@dataclass(frozen=True, slots=True)
class _Shape:
    """`words[i]` stand before content i, the last of them at the end. Of each answer: its turn, how
    many characters before its content it begins, how many behind it ends."""

    words: tuple[str, ...]
    answers: tuple[tuple[int, int, int], ...]


class Shapes:
    """The shapes of conversations that `chat` has met."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._known: dict[tuple[str, ...], _Shape | None] = {}

    def answers(self, turns: Turns) -> tuple[str, list[Span]] | None:
        """What `rendered_answers` gives for turns without tools, or None where it has to be asked.

        Raises what templates raise (RENDER_ERRORS).
        """
        contents = [turn["content"] for turn in turns if len(turn) == 2]
        if len(contents) != len(turns) or not all(contents) or self._may_think(contents):
            return None
        roles = tuple(turn["role"] for turn in turns)
        if roles not in self._known:
            if len(self._known) >= _MOST_SHAPES:
                return None
            self._known[roles] = _shape(self._chat, roles)
        shape = self._known[roles]
        if shape is None:
            return None
        full = self._chat.render(turns)
        pieces: list[str] = []
        places: list[int] = []
        reached = 0
        for words, content in zip(shape.words, contents, strict=False):
            reached += len(words)
            places.append(reached)
            reached += len(content)
            pieces += (words, content)
        if "".join([*pieces, shape.words[-1]]) != full:
            return None
        spans = [
            Span(turn, places[turn] - before, places[turn] + len(contents[turn]) + behind)
            for turn, before, behind in shape.answers
        ]
        return full, spans

    def _may_think(self, contents: Sequence[str]) -> bool:
        """Whether the template may look for thoughts in what is said."""
        way = self._chat.way
        if way is None:
            return False
        marks = (way.opening.strip(), way.closing.strip())
        return any(mark in content for mark in marks for content in contents)


def _shape(chat: ChatFormat, roles: Sequence[str]) -> _Shape | None:
    stand_ins = [f"sTaNd{place}iN" for place in range(len(roles))]
    turns: list[Mapping[str, Any]] = [
        {"role": role, "content": text} for role, text in zip(roles, stand_ins, strict=True)
    ]
    try:
        text, spans = rendered_answers(chat, turns, None)
    except (RowFault, *RENDER_ERRORS):
        return None
    words: list[str] = []
    places: list[int] = []
    reached = 0
    for stand_in in stand_ins:
        place = text.find(stand_in, reached)
        if place < 0 or text.count(stand_in) != 1:
            return None
        words.append(text[reached:place])
        places.append(place)
        reached = place + len(stand_in)
    words.append(text[reached:])
    answers = tuple(
        (
            span.turn,
            places[span.turn] - span.start,
            span.end - places[span.turn] - len(stand_ins[span.turn]),
        )
        for span in spans
    )
    if any(before < 0 or behind < 0 for _, before, behind in answers):
        return None
    return _Shape(tuple(words), answers)
