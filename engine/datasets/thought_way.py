"""How a chat template writes thoughts, found by asking it to write one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from engine.datasets.template import render
from engine.datasets.templates.record import TemplateRecord
from engine.datasets.thoughts import KNOWN_WORDS, ThoughtWay

_THOUGHT, _ANSWER = "ThOuGhTpRoBe", "AnSwErPrObE"
_FAULTS = (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError)


def thought_way(
    source: str, special: Mapping[str, str], record: TemplateRecord | None, every: bool = False
) -> ThoughtWay | None:
    """The words that `source` writes round a thought, None where they are none that are known.

    The `empty` thought is the one that the template writes by itself, where it does; it has none
    where something else stands before such an answer. `every`: earlier answers take one too.
    """
    if record is not None:
        opening, closing = record.thought_words
        return ThoughtWay(opening, closing, record.empty_thought, every=True)
    question = {"role": "user", "content": "u"}
    plain = {"role": "assistant", "content": _ANSWER}
    with_thought = _text(source, [question, {**plain, "reasoning_content": _THOUGHT}], special)
    without = _text(source, [question, plain], special)
    before, found, after = with_thought.partition(_THOUGHT)
    closing, answered, _ = after.partition(_ANSWER)
    if not found or not answered:
        return None
    place = max(before.rfind(word) for word, _ in KNOWN_WORDS)
    if place < 0:
        return None
    opening = before[place:]
    header = before[:place]
    written = without.partition(_ANSWER)[0].removeprefix(header)
    if not without.startswith(header):
        return ThoughtWay(opening, closing, "", every)
    if not written.strip():
        return ThoughtWay(opening, closing, opening + closing, every)
    return ThoughtWay(opening, closing, written if closing.strip() in written else "", every)


def _text(source: str, turns: Sequence[Mapping[str, Any]], special: Mapping[str, str]) -> str:
    try:
        return render(source, turns, special)
    except _FAULTS:
        return ""
