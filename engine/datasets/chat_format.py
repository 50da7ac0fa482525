"""One model's way of writing a conversation: its template, and what that template can't express.

Some templates refuse system turns, know no tool calls or drop reasoning. What they lack is written
as text, so that no part of a row is lost: a system text opens the first user turn, calls and
results take the `<tool_call>` convention of Hermes and Qwen, reasoning stands in `<think>`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from engine.datasets.example import Message
from engine.datasets.formats.fields import RowFault
from engine.datasets.template import render
from engine.datasets.template_choice import ChosenTemplate, choose_template
from engine.datasets.templates.writer import (
    TOOLS_HEAD,
    TOOLS_TAIL,
    WRITTEN_HERE,
    WRITTEN_TOOL_FORMAT,
)
from engine.datasets.thought_way import thought_way
from engine.datasets.thoughts import ThoughtWay, set_apart, stripped
from engine.datasets.tokenizer import FastTokenizer
from engine.datasets.tool_formats import tool_format_of
from engine.problem import BadInput, Problem

# What a template may raise on a conversation that it wasn't made for.
RENDER_ERRORS = (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError)
_PROBE = "PrObE7"
_PROBE_CALL = {"type": "function", "function": {"name": _PROBE, "arguments": {"a": "b"}}}
_PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": _PROBE,
        "description": "d",
        "parameters": {"type": "object", "properties": {}},
    },
}


class ChatFormat:
    """How `tokenizer`'s model writes conversations. `source` is the Jinja template in use.

    `name` is the setting `template`, `thinking` and `preserve` are `enable_thinking` and
    `preserve_thinking`, `tool_format` the setting of that name. `family` names what the template
    looks like ("chatml", "plain", "own"), `origin` where its text comes from; `notes` are sentences
    for a person. `way` is how it writes thoughts, None where it has none. Raises BadInput for a
    name whose text is not here, and a tool format that the template doesn't have.
    """

    def __init__(
        self,
        tokenizer: FastTokenizer,
        name: str | None = None,
        thinking: bool | None = True,
        preserve: bool = False,
        tool_format: str | None = None,
    ) -> None:
        self._special = dict(tokenizer.special_tokens)
        self._special.setdefault("eos_token", tokenizer.eos_token or "")
        self.chosen: ChosenTemplate = choose_template(tokenizer, self._special, name)
        self.source, self.family = self.chosen.source, self.chosen.family
        self.origin, self.record = self.chosen.origin, self.chosen.record
        self._tool_source = self.chosen.tool_source
        self.notes: list[str] = list(self.chosen.notes)
        self.thinking, self.preserve = thinking, preserve
        self._switch = False
        self.way: ThoughtWay | None = None
        self.takes_system = self._shows([{"role": "system", "content": _PROBE}, _USER])
        call = {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]}
        self.takes_tools = self._shows([_USER, call]) and self._shows([_USER], [_PROBE_TOOL])
        thought = {"role": "assistant", "content": "a", "reasoning_content": _PROBE}
        self.takes_thoughts = self._shows([_USER, thought])
        # A model's own template decides itself what of earlier thoughts is shown.
        self._written_here = WRITTEN_HERE in self.source
        if self.takes_thoughts:
            self.way = thought_way(self.source, self._special, self.record, self._written_here)
        # Without a way of its own a template may still have a switch (SmolLM3's system text).
        self._switch = self.way is not None or "enable_thinking" in self.source
        self.tool_format = self._tool_format(tool_format)
        self.notes += self._thought_notes(name)

    @property
    def has_thoughts(self) -> bool:
        """Whether `enable_thinking` changes anything with this template."""
        return self._switch

    @property
    def efficient_eos(self) -> bool:
        """Whether only the last answer of a conversation is closed by the end of text."""
        return self.record is not None and self.record.efficient_eos

    @property
    def tools_note(self) -> str:
        """What a person should know whose rows hold tools; an empty text where nothing is."""
        record = self.record
        if record is None or record.tools or record.tool_format == WRITTEN_TOOL_FORMAT:
            return ""
        return (
            f"Tools and calls are written the qwen way: template {record.name} has "
            f"{record.tool_format}, which is code and is not read."
        )

    def thoughts_note(self, share: float) -> str:
        """What becomes of a set's thoughts; `share` of its answers hold some."""
        percent = max(1, round(share * 100)) if share else 0
        if not self._switch:
            if not share:
                return ""
            text = f"<think>\n{_PROBE}\n</think>\n\na"
            if self._shows([_USER, {"role": "assistant", "content": text}]):
                fate = "they are trained as ordinary text"
            else:
                fate = "it leaves them out"
            return f"{percent} % of the answers hold thoughts, and this template has none: {fate}."
        if self.thinking is False and share:
            return f"enable_thinking: false strips the thoughts of {percent} % of the answers."
        if self.thinking is True and not share:
            return (
                "No answer holds thoughts: enable_thinking: true trains an empty one before each, "
                "false puts it into the prompt."
            )
        return ""

    @property
    def trained_without_thoughts(self) -> bool:
        """Whether the template is one that `saved_source` made of a run without thoughts."""
        return self.source.startswith(_NO_THOUGHTS)

    @property
    def saved_source(self) -> str:
        """The template to save with a trained model: one that was trained without thoughts asks
        for answers without them by itself."""
        if self.thinking is False and self._switch and not self.trained_without_thoughts:
            return _NO_THOUGHTS + self.source
        return self.source

    def with_thinking(self, thinking: bool | None) -> ChatFormat:
        """The same format under another `enable_thinking`."""
        other = copy.copy(self)
        other.thinking = thinking
        return other

    def in_training(self, messages: Sequence[Message], last_only: bool) -> Sequence[Message]:
        """The turns as they are learned from. `last_only` (`mask_history`): thoughts before the
        last answer go, unless they are kept; a model's own template sees to that itself."""
        if not self._written_here or self.way is None or self.preserve or not last_only:
            return messages
        places = [i for i, message in enumerate(messages) if message.role == "assistant"]
        last = places[-1] if places else -1
        return [m if i == last else self._bare(m) for i, m in enumerate(messages)]

    def in_history(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The turns before a new answer: without the thoughts that came before the last question,
        unless they are kept."""
        if not self._written_here or self.way is None or self.preserve:
            return messages
        asked = [i for i, message in enumerate(messages) if message.role == "user"]
        last = asked[-1] if asked else 0
        return [self._bare(m) if i < last else m for i, m in enumerate(messages)]

    def _bare(self, message: Message) -> Message:
        return stripped(message, self.way) if message.role == "assistant" else message

    def turns(
        self,
        messages: Sequence[Message],
        system: str = "",
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """The dicts to render, and the tools to hand to the template (None: none)."""
        if not self.takes_tools and tools:
            lines = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools)
            described = TOOLS_HEAD + lines + TOOLS_TAIL
            system = f"{system}\n\n{described}" if system else described
            tools = ()
        turns: list[dict[str, Any]] = []
        for message in messages:
            self._add(turns, message)
        if system and self.takes_system:
            turns.insert(0, {"role": "system", "content": system})
        elif system and turns and turns[0]["role"] == "user":
            turns[0] = {**turns[0], "content": f"{system}\n\n{turns[0]['content']}"}
        elif system:
            turns.insert(0, {"role": "user", "content": system})
        return turns, list(tools) or None

    def render(
        self,
        turns: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of `turns`, as made by `turns()`. Raises one of RENDER_ERRORS."""
        source = self._tool_source if tools else self.source
        asked = self._variables()
        text = render(source, turns, self._special, tools, add_generation_prompt, asked)
        if add_generation_prompt and self.thinking is False and self.way is not None:
            closed = text.rstrip().endswith(self.way.closing.strip())
            return text if closed else text + self.way.empty
        return text

    def _variables(self) -> dict[str, Any]:
        """What the template is told of thoughts; nothing where it has none."""
        if not self._switch:
            return {}
        told: dict[str, Any] = {}
        if self.thinking is not None:
            told["enable_thinking"] = self.thinking
        if self.preserve:
            # Qwen 3.6 asks for the first, GLM-4.7 for the second.
            told |= {"preserve_thinking": True, "clear_thinking": False}
        return told

    def _add(self, turns: list[dict[str, Any]], message: Message) -> None:
        if self.thinking is False and self._switch and message.role == "assistant":
            message = stripped(message, self.way)
        elif self.way is not None and message.role == "assistant":
            message = set_apart(message, self.way, not self._written_here)
        if self.tool_format == "glm4" and len(message.tool_calls) > 1:
            raise RowFault("GLM-4's tool format has one call a turn, and it makes several at once")
        content = message.content
        if message.thoughts and not self.takes_thoughts:
            content = f"<think>\n{message.thoughts}\n</think>\n\n{content}"
        if message.role == "tool" and not self.takes_tools:
            reply = f"<tool_response>\n{content}\n</tool_response>"
            # Several results make one user turn: most templates want the sides to take turns.
            if turns and turns[-1]["content"].startswith("<tool_response>"):
                turns[-1]["content"] += "\n" + reply
            else:
                turns.append({"role": "user", "content": reply})
            return
        turn: dict[str, Any] = {"role": message.role, "content": content}
        if message.tool_calls and self.takes_tools:
            turn["tool_calls"] = [dict(call) for call in message.tool_calls]
        elif message.tool_calls:
            calls = [_call_text(call) for call in message.tool_calls]
            turn["content"] = "\n".join([content, *calls] if content else calls)
        if message.thoughts and self.takes_thoughts:
            turn["reasoning_content"] = message.thoughts
        if message.name:
            turn["name"] = message.name
        turns.append(turn)

    def _shows(
        self,
        turns: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> bool:
        try:
            return _PROBE in self.render(turns, tools)
        except RENDER_ERRORS:
            return False

    def _tool_format(self, wanted: str | None) -> str:
        """The tool format that is written. Raises BadInput where it is not the wanted one."""
        call = {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]}
        result = {"role": "tool", "content": "r", "name": _PROBE}
        own: str | None = WRITTEN_TOOL_FORMAT
        if self.takes_tools:
            try:
                own = tool_format_of(self.render([_USER, call, result], [_PROBE_TOOL]))
            except RENDER_ERRORS:
                own = tool_format_of(self.render([_USER, call], [_PROBE_TOOL]))
        if wanted is None or wanted == own:
            return own or "own"
        if wanted == WRITTEN_TOOL_FORMAT:
            self.takes_tools = False
            return wanted
        writes = f"writes tools the {own} way" if own else "has a way of its own"
        raise BadInput(
            Problem(
                f"tool_format is {wanted!r}, but the template in use {writes}.",
                "tool_format",
                "Leave tool_format out, write qwen, or use a model whose template has it.",
                "tool_format",
            )
        )

    def _thought_notes(self, name: str | None) -> list[str]:
        from engine.config.chat_templates import THINKING

        notes = []
        if self.thinking is False and not self._switch:
            notes.append("enable_thinking: false changes nothing: this template has no thoughts.")
        if name in THINKING and not self._switch:
            notes.append(
                f"Template {name} is for models that think, but the text in use has no thoughts: "
                "enable_thinking changes nothing."
            )
        if name and name.endswith("_nothink") and self._switch and self.thinking is not False:
            notes.append(
                f"Template {name} is for models without thoughts, but this model's own template "
                "writes them: enable_thinking: false trains answers without."
            )
        if self.preserve and self._switch and not self._keeps_thoughts():
            notes.append(
                "preserve_thinking is on, but the model's own template leaves the thoughts of "
                "earlier turns out."
            )
        return notes

    def _keeps_thoughts(self) -> bool:
        thought = {"role": "assistant", "content": "a", "reasoning_content": _PROBE}
        return self._shows([_USER, thought, _USER, {"role": "assistant", "content": "b"}])


_NO_THOUGHTS = (
    "{%- if enable_thinking is not defined -%}{%- set enable_thinking = false -%}{%- endif -%}"
)
_USER = {"role": "user", "content": "u"}


def _call_text(call: Mapping[str, Any]) -> str:
    function = call["function"]
    inner = {"name": function["name"], "arguments": function.get("arguments", {})}
    return f"<tool_call>\n{json.dumps(inner, ensure_ascii=False)}\n</tool_call>"
