"""One model's way of writing a conversation: its template, and what that template can't express.

Some templates refuse system turns, know no tool calls or drop reasoning. What they lack is written
as text, so that no part of a row is lost: a system text opens the first user turn, calls and
results take the `<tool_call>` convention of Hermes and Qwen, reasoning stands in `<think>`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from engine.datasets.example import Message
from engine.datasets.template import render
from engine.datasets.template_names import EMPTY, FAMILIES, NAMES, PLAIN, family_of
from engine.datasets.tokenizer import FastTokenizer
from engine.problem import BadInput, Problem

# What a template may raise on a conversation that it wasn't made for.
RENDER_ERRORS = (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError)
_TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
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

    `family` names what it looks like ("chatml", "plain", "own"); `notes` are sentences for a
    person. Raises BadInput where the setting `template` names another family than the model's.
    """

    def __init__(self, tokenizer: FastTokenizer, name: str | None = None) -> None:
        self._special = dict(tokenizer.special_tokens)
        self._special.setdefault("eos_token", tokenizer.eos_token or "")
        self.notes: list[str] = []
        self.source, self._tool_source, self.family = self._choose(tokenizer, name)
        self.takes_system = self._shows([{"role": "system", "content": _PROBE}, _USER])
        call = {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]}
        self.takes_tools = self._shows([_USER, call]) and self._shows([_USER], [_PROBE_TOOL])
        thinking = {"role": "assistant", "content": "a", "reasoning_content": _PROBE}
        self.takes_thoughts = self._shows([_USER, thinking])

    def turns(
        self,
        messages: Sequence[Message],
        system: str = "",
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]] | None]:
        """The dicts to render, and the tools to hand to the template (None: none)."""
        if not self.takes_tools and tools:
            lines = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools)
            described = _TOOLS_HEAD + lines + _TOOLS_TAIL
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
        return render(source, turns, self._special, tools, add_generation_prompt)

    def _add(self, turns: list[dict[str, Any]], message: Message) -> None:
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

    def _choose(self, tokenizer: FastTokenizer, name: str | None) -> tuple[str, str, str]:
        """Template for talk, for talk with tools, and the family's name."""
        if name in ("default", "empty"):
            source = PLAIN if name == "default" else EMPTY
            return self._opened(source, tokenizer), self._opened(source, tokenizer), name
        own = tokenizer.chat_templates.get("default")
        if name is not None and name not in NAMES:
            near = difflib.get_close_matches(name, [*NAMES, "default", "empty"], 1)
            meant = f"Did you mean {near[0]}? " if near else ""
            raise _bad(
                f"The template {name!r} is not known.",
                f"{meant}Leave template out to use the model's own.",
            )
        if own is None and name is not None:
            raise _bad(
                f"The model has no chat template of its own, so it can't be {name!r}.",
                "Leave template out, or write template: default, for the plain format.",
            )
        if own is None:
            self.notes.append(
                "The model has no chat template; rows are written as Human: … Assistant: … "
                "and each answer ends with the end-of-text token."
            )
            source = self._opened(PLAIN, tokenizer)
            return source, source, "plain"
        family = self._family(own, name)
        return own, tokenizer.chat_templates.get("tool_use", own), family

    def _opened(self, source: str, tokenizer: FastTokenizer) -> str:
        """A plain format writes the beginning-of-text token where the model's texts have it."""
        return "{{ bos_token }}" + source if tokenizer.adds_bos and tokenizer.bos_token else source

    def _family(self, own: str, name: str | None) -> str:
        try:
            shown = render(own, [_USER, {"role": "assistant", "content": "a"}], self._special)
        except jinja2.TemplateSyntaxError as error:
            raise BadInput(
                Problem(
                    f"The model's chat template is not valid Jinja: {error.message}.",
                    f"chat template, line {error.lineno}",
                    "Correct chat_template.jinja in the model's folder, or fetch it again.",
                    "model_name_or_path",
                )
            ) from None
        except RENDER_ERRORS as error:
            raise _bad(
                f"The model's chat template can't write a question and an answer: {error}.",
                "Use template: default, or correct chat_template.jinja in the model's folder.",
            ) from None
        family = family_of(shown)
        if name is not None and not all(mark in shown for mark in FAMILIES[NAMES[name]]):
            looks = f"looks like {family}" if family else "is one of its own"
            raise _bad(
                f"template is {name!r}, but the model's chat template {looks}.",
                "Leave template out to use the model's own.",
            )
        return family or "own"


_USER = {"role": "user", "content": "u"}


def _call_text(call: Mapping[str, Any]) -> str:
    function = call["function"]
    inner = {"name": function["name"], "arguments": function.get("arguments", {})}
    return f"<tool_call>\n{json.dumps(inner, ensure_ascii=False)}\n</tool_call>"


def _bad(what: str, hint: str) -> BadInput:
    return BadInput(Problem(what, "template", hint, "template"))
