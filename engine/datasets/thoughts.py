"""Thoughts: how a template writes them, what a row holds of them, what a setting makes of them.

`enable_thinking` true puts an empty thought before answers that have none and trains on it; false
puts it into the prompt, without loss, and strips the data's thoughts; null leaves rows alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.datasets.example import Example, Message

if TYPE_CHECKING:
    from engine.datasets.answers import Span
    from engine.datasets.encode import Encoder, TokenPiece

# The words that open and close thoughts in published templates and in people's data.
KNOWN_WORDS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel>thought", "<channel|>"),
)


@dataclass(frozen=True, slots=True)
class ThoughtWay:
    """How a template writes thoughts. `opening` and `closing` stand round them, `empty` before an
    answer that has none (an empty text: nothing can). `every` answer takes an empty thought, or
    only the last: what a model's own template shows of earlier turns is its own matter."""

    opening: str
    closing: str
    empty: str
    every: bool = False

    def has_thought(self, text: str) -> bool:
        return self.opening.strip() in text or self.closing.strip() in text


def stripped(message: Message, way: ThoughtWay | None = None) -> Message:
    """A message without its thoughts."""
    words = ((way.opening.strip(), way.closing.strip()),) if way else ()
    content = message.content
    for opening, closing in dict.fromkeys((*words, *KNOWN_WORDS)):
        if opening in content:
            pattern = re.escape(opening) + ".*?" + re.escape(closing)
            content = re.sub(pattern, "", content, flags=re.DOTALL).lstrip("\n")
    if content == message.content and not message.thoughts:
        return message
    return replace(message, content=content, thoughts="")


def set_apart(message: Message, way: ThoughtWay, own_words: bool) -> Message:
    """A message whose content opens with a thought, the thought taken out of it, so that the
    template writes it in its own words. `own_words`: also one that is written in them already."""
    content = message.content.lstrip()
    if message.thoughts:
        return message
    for opening, closing in KNOWN_WORDS:
        if not content.startswith(opening) or closing not in content:
            continue
        if opening == way.opening.strip() and not own_words:
            return message
        thought, _, rest = content.removeprefix(opening).partition(closing)
        return replace(message, thoughts=thought.strip("\n"), content=rest.lstrip("\n"))
    return message


def has_thoughts(message: Message) -> bool:
    """Whether a message holds a thought with words in it."""
    if message.thoughts.strip():
        return True
    for opening, closing in KNOWN_WORDS:
        _, found, rest = message.content.partition(opening)
        if found and closing in rest and rest.partition(closing)[0].strip():
            return True
    return False


def thoughts_in(rows: Iterable[Example]) -> float:
    """The share of the rows' answers that hold thoughts, from 0 to 1; 0 of no answers."""
    answers = with_thoughts = 0
    for row in rows:
        for message in (*row.messages, row.chosen, row.rejected):
            if message is not None and message.role == "assistant":
                answers += 1
                with_thoughts += has_thoughts(message)
    return with_thoughts / answers if answers else 0.0


def thought_renderings(row: Example, encoder: Encoder) -> tuple[list[TokenPiece], list[TokenPiece]]:
    """A row's tokens as `enable_thinking: true` and as `false` would train it. Raises BadInput."""
    return encoder.thinking(True).pieces(row), encoder.thinking(False).pieces(row)


def with_empty_thoughts(
    text: str, spans: Sequence[Span], way: ThoughtWay, trained: bool
) -> tuple[str, list[Span]]:
    """The text with an empty thought before each answer that has none.

    It belongs to the answer where `trained`, else to the prompt.
    """
    if not way.empty:
        return text, list(spans)
    moved: list[Span] = []
    parts: list[str] = []
    done = shift = 0
    for place, span in enumerate(spans):
        start, end = span.start + shift, span.end + shift
        wanted = way.every or place == len(spans) - 1
        before = text[done : span.start]
        if trained and before.endswith(way.empty):
            start -= len(way.empty)
        elif (
            wanted
            and not way.has_thought(text[span.start : span.end])
            and not before.rstrip().endswith(way.closing.strip())
        ):
            parts += [text[done : span.start], way.empty]
            done = span.start
            shift += len(way.empty)
            end += len(way.empty)
            start += 0 if trained else len(way.empty)
        moved.append(replace(span, start=start, end=end))
    return "".join([*parts, text[done:]]), moved
