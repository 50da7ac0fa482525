"""A chat template as plain facts: which text stands where, in no library's own form."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

CONTENT = "{{content}}"


class Mark(Enum):
    """A special token of the tokenizer, whatever its text there."""

    BOS = "bos_token"
    EOS = "eos_token"


Slot = str | Mark
Slots = tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """One named template. Each `Slots` is a row of texts and marks; `{{content}}` in a text stands
    for what is said.

    `user`, `observation` (a tool's result) close the turn and open the answer; `assistant` and
    `function` (an answer that calls tools) hold the answer and its end. `prefix` opens every text.
    `fused` puts the system text into the first user turn. `thinking` tells that the model writes
    thoughts between `thought_words`; a `bare_closing` empty thought is its closing word alone.
    `replace_eos` makes the first of `stop_words` the end of text; with `efficient_eos` only the
    last answer of a conversation is closed. `tools` is where a template writes its tools itself,
    instead of in a `tool_format`. `media` are the words of its pictures, videos and sounds.
    """

    name: str
    user: Slots
    assistant: Slots
    system: Slots
    function: Slots
    observation: Slots
    prefix: Slots = ()
    tools: Slots = ()
    tool_format: str = "default"
    default_system: str = ""
    stop_words: tuple[str, ...] = ()
    thought_words: tuple[str, str] = ("<think>\n", "\n</think>\n\n")
    fused: bool = False
    thinking: bool = False
    bare_closing: bool = False
    efficient_eos: bool = False
    replace_eos: bool = False
    media: dict[str, str] = field(default_factory=dict)

    @property
    def empty_thought(self) -> str:
        """What stands before an answer without thoughts; empty for models that have none."""
        if not self.thinking:
            return ""
        opening, closing = self.thought_words
        return closing if self.bare_closing else opening + closing
