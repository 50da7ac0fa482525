"""A Python file that registers templates, read without being run.

The form is LLaMA-Factory's `data/template.py`: calls of `register_template(name=…,
format_user=StringFormatter(slots=[…]), …)`. Only what is written out literally is taken; a template
made any other way is named with the reason, and never guessed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.datasets.templates.record import CONTENT, Mark, Slot, Slots, TemplateRecord

_CALL = "register_template"
_PLACEHOLDER = re.compile(r"\{\{[a-zA-Z_][a-zA-Z0-9_]*\}\}")
# template_class -> (system text in the first user turn, thoughts, bare closing)
_CLASSES = {
    "Template": (False, False, False),
    "Llama2Template": (True, False, False),
    "ReasoningTemplate": (False, True, False),
    "Glm47ReasoningTemplate": (False, True, True),
}
_FORMATS = ("user", "assistant", "system", "function", "observation", "prefix")
_TAKEN = {
    "name", "default_system", "stop_words", "thought_words", "tool_call_words", "efficient_eos",
    "replace_eos", "replace_jinja_template", "enable_thinking", "preserve_thinking", "mm_plugin",
    "template_class", "format_tools", *(f"format_{part}" for part in _FORMATS),
}  # fmt: skip


class _Unreadable(Exception):
    """Why a template's record can't be made, for a person."""


@dataclass(frozen=True)
class Registered:
    """The templates of one file by name, and those that could not be read, with the reason."""

    records: Mapping[str, TemplateRecord]
    unreadable: Mapping[str, str] = field(default_factory=dict)


def read_templates(source: str) -> Registered:
    """The templates that `source` registers at its top level. Raises SyntaxError."""
    records: dict[str, TemplateRecord] = {}
    unreadable: dict[str, str] = {}
    for node in ast.parse(source).body:
        call = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call) or _called(call) != _CALL:
            continue
        given = {item.arg: item.value for item in call.keywords if item.arg}
        if call.args:
            given.setdefault("name", call.args[0])
        name = _literal(given["name"]) if "name" in given else None
        if not isinstance(name, str):
            continue
        try:
            if len(call.args) > 1 or any(item.arg is None for item in call.keywords):
                raise _Unreadable("its parts are not named")
            records[name] = _record(name, given)
        except _Unreadable as reason:
            unreadable[name] = str(reason)
    return Registered(records, unreadable)


def _record(name: str, given: Mapping[str, ast.expr]) -> TemplateRecord:
    foreign = set(given) - _TAKEN
    if foreign:
        raise _Unreadable(f"it has {', '.join(sorted(foreign))}, which is not known here")
    efficient = bool(_value(given, "efficient_eos", False))
    parts = {part: _slots(given.get(f"format_{part}"), part) for part in _FORMATS}
    # Where a part is left out, the registering function puts these.
    plain: Slots = (CONTENT,)
    assistant = parts["assistant"] or (plain if efficient else (CONTENT, Mark.EOS))
    user = parts["user"] or plain
    kind = given.get("template_class")
    class_name = "Template" if kind is None else ast.unparse(kind)
    if class_name not in _CLASSES:
        raise _Unreadable(f"it is a {class_name}, whose way of writing is code")
    fused, thinking, bare = _CLASSES[class_name]
    tools, tool_format = _tools(given.get("format_tools"))
    stop_words = tuple(_value(given, "stop_words", ()) or ())
    replace_eos = bool(_value(given, "replace_eos", False))
    if replace_eos and not stop_words:
        raise _Unreadable("it replaces the end of text by a stop word and has none")
    words = _value(given, "thought_words", None) or ("<think>\n", "\n</think>\n\n")
    return TemplateRecord(
        name=name,
        user=user,
        assistant=assistant,
        system=parts["system"] or plain,
        function=parts["function"] or assistant,
        observation=parts["observation"] or user,
        prefix=parts["prefix"] or (),
        tools=tools,
        tool_format=tool_format,
        default_system=str(_value(given, "default_system", "") or ""),
        stop_words=stop_words,
        thought_words=(str(words[0]), str(words[1])),
        fused=fused,
        thinking=thinking,
        bare_closing=bare,
        efficient_eos=efficient,
        replace_eos=replace_eos,
        media=_media(given.get("mm_plugin")),
    )


def _slots(node: ast.expr | None, part: str) -> Slots | None:
    """The slots of a formatter call; None where it is left out."""
    if node is None or (isinstance(node, ast.Constant) and node.value is None):
        return None
    if not isinstance(node, ast.Call) or node.args:
        raise _Unreadable(f"its {part} part is not a list of slots")
    given = {item.arg: item.value for item in node.keywords if item.arg}
    listed = given.get("slots")
    if listed is None:
        return ()
    if not isinstance(listed, (ast.List, ast.Tuple)):
        raise _Unreadable(f"its {part} part is not a list of slots")
    found = [slot for item in listed.elts if (slot := _slot(item, part)) is not None]
    if part != "prefix" and not any(isinstance(s, str) and CONTENT in s for s in found):
        raise _Unreadable(f"its {part} part has no place for what is said")
    return tuple(found)


def _slot(node: ast.expr, part: str) -> Slot | None:
    if isinstance(node, ast.Set):
        named = {_literal(item) for item in node.elts}
        # A set with neither name writes nothing, there as here.
        return next((mark for mark in Mark if mark.value in named), None)
    value = _literal(node)
    if isinstance(value, dict) and isinstance(value.get("token"), str):
        return str(value["token"])
    if not isinstance(value, str):
        raise _Unreadable(f"a slot of its {part} part is {ast.unparse(node)[:60]}")
    if any(word != CONTENT for word in _PLACEHOLDER.findall(value)):
        raise _Unreadable(f"its {part} part holds another placeholder than {CONTENT}")
    return value


def _tools(node: ast.expr | None) -> tuple[Slots, str]:
    """Slots of a template that writes its tools itself, and the name of its tool format."""
    if node is None:
        return (), "default"
    if not isinstance(node, ast.Call):
        raise _Unreadable("its tools part can't be read")
    for item in node.keywords:
        if item.arg == "tool_format":
            return (), str(_literal(item.value))
    return _slots(node, "tools") or (), "default"


def _media(node: ast.expr | None) -> dict[str, str]:
    if not isinstance(node, ast.Call):
        return {}
    found = {item.arg: str(_literal(item.value)) for item in node.keywords if item.arg}
    if node.args:
        found.setdefault("name", str(_literal(node.args[0])))
    return found


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _value(given: Mapping[str, ast.expr], name: str, default: Any) -> Any:
    return _literal(given[name]) if name in given else default


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _Unreadable(f"{ast.unparse(node)[:60]} is not written out") from None
