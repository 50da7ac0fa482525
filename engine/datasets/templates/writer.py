"""A template's record as a Jinja chat template: what its slots say, turn by turn."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.datasets.templates.record import CONTENT, Mark, Slot, Slots, TemplateRecord

# Hermes' way, which Qwen 2.5 and 3 write too: the one tool format that finetui writes itself.
WRITTEN_TOOL_FORMAT = "qwen"
# Opens every template that is written here, so that a saved one is known again.
WRITTEN_HERE = "{#- written by finetui from the slots of a named template -#}"
TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
_MARKER = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")


def write_jinja(record: TemplateRecord) -> str:
    """The chat template of `record`, for transformers' environment and ours.

    It takes messages of the roles system, user, assistant (with `tool_calls` and, in a thinking
    template, `reasoning_content`) and tool, the variables `tools`, `add_generation_prompt` and, in
    a thinking template, `enable_thinking`. Consecutive tool results make one turn.
    """
    end = record.stop_words[0] if record.replace_eos else None
    lines = [
        WRITTEN_HERE,
        "{%- set ns = namespace(calls='', results='', tools='') -%}",
        "{%- set system = '' -%}{%- set turns = messages -%}",
        "{%- if messages and messages[0]['role'] == 'system' -%}"
        "{%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}{%- endif -%}",
    ]
    if record.default_system:
        lines.append(
            "{%- if not system -%}"
            f"{{%- set system = {_quoted(record.default_system)} -%}}"
            "{%- endif -%}"
        )
    lines.append(_tools(record, end))
    lines.append(_said(record.prefix, "", end))
    if not record.fused:
        lines.append("{%- if system -%}" + _said(record.system, "system", end) + "{%- endif -%}")
    lines += [
        "{%- for message in turns -%}",
        "{%- set content = message['content'] or '' -%}",
        "{%- if message['role'] == 'user' -%}",
        _fused(record, end),
        _asked(record.user, "content", end),
        "{%- elif message['role'] == 'assistant' -%}",
        _answer(record, end),
        "{%- elif message['role'] == 'tool' -%}",
        _results(record, end),
        "{%- elif message['role'] == 'system' -%}",
        "{{- raise_exception('only the first turn may be a system text') -}}"
        if record.fused
        else _said(record.system, "content", end),
        "{%- endif -%}",
        "{%- endfor -%}",
    ]
    if record.thinking:
        lines.append(
            "{%- if add_generation_prompt and enable_thinking is defined "
            "and enable_thinking is false -%}"
            f"{{{{- {_quoted(record.empty_thought)} -}}}}"
            "{%- endif -%}"
        )
    return "\n".join(line for line in lines if line)


def opening_of(slots: Slots) -> tuple[Slots, Slots]:
    """The slots of a user turn up to where they open the answer, and what opens it.

    The answer's opening begins with the mark that the turn itself begins with
    (`<|im_start|>assistant`), else after the end of text, else right after what is said.
    """
    place = next(i for i, slot in enumerate(slots) if isinstance(slot, str) and CONTENT in slot)
    slot = slots[place]
    assert isinstance(slot, str)
    head, _, rest = slot.partition(CONTENT)
    before: tuple[Slot, ...] = (*slots[:place], head + CONTENT)
    tail: list[Slot] = [part for part in (rest, *slots[place + 1 :]) if part != ""]
    opened = "".join(part for part in before if isinstance(part, str))
    mark = _MARKER.search(opened.split(CONTENT)[0])
    for i in range(len(tail) - 1, -1, -1):
        part = tail[i]
        if mark and isinstance(part, str) and mark[0] in part:
            at = part.rindex(mark[0])
            closing = [*tail[:i], part[:at]] if at else tail[:i]
            return (*before, *closing), (part[at:], *tail[i + 1 :])
    opens = next((part for part in before if isinstance(part, Mark)), None)
    marks = [i for i, part in enumerate(tail) if isinstance(part, Mark)]
    cut = marks[-1] + (tail[marks[-1]] is not opens) if marks else 0
    return (*before, *tail[:cut]), tuple(tail[cut:])


def _tools(record: TemplateRecord, end: str | None) -> str:
    if record.tools:
        said = _joined(record.tools, "(tools | tojson)", end)
        return "{%- if tools -%}{%- set system = system + " + said + " -%}{%- endif -%}"
    gap = _quoted("\n\n" + TOOLS_HEAD)
    return (
        "{%- if tools -%}{%- for tool in tools -%}"
        "{%- set ns.tools = ns.tools + '\\n' + (tool | tojson) -%}{%- endfor -%}"
        f"{{%- set system = system + {gap} + ns.tools + {_quoted(TOOLS_TAIL)} -%}}"
        "{%- endif -%}"
    )


def _fused(record: TemplateRecord, end: str | None) -> str:
    if not record.fused:
        return ""
    # Only the first of its slots is taken, as where the record comes from.
    system = _joined(record.system[:1], "system", end)
    return (
        "{%- if loop.first and system -%}"
        "{%- set content = " + system + " + content -%}"
        "{%- endif -%}"
    )


def _asked(slots: Slots, content: str, end: str | None) -> str:
    """A turn of the user's side; its opening of the answer only where an answer is to come."""
    turn, opening = opening_of(slots)
    if not opening:
        return _said(turn, content, end)
    return (
        _said(turn, content, end)
        + "{%- if not loop.last or add_generation_prompt -%}"
        + _said(opening, content, end)
        + "{%- endif -%}"
    )


def _answer(record: TemplateRecord, end: str | None) -> str:
    lines = []
    if record.thinking:
        opening, closing = (_quoted(word) for word in record.thought_words)
        lines.append(
            "{%- if message['reasoning_content'] -%}"
            f"{{%- set thought = {opening} + message['reasoning_content'] + {closing} -%}}"
            "{%- set content = thought + content -%}"
            "{%- endif -%}"
        )
    lines += [
        "{%- if message['tool_calls'] -%}{%- set ns.calls = content -%}",
        "{%- for call in message['tool_calls'] -%}{%- set function = call['function'] or call -%}",
        "{%- set arguments = function['arguments'] -%}",
        "{%- if arguments is not string -%}{%- set arguments = arguments | tojson -%}{%- endif -%}",
        "{%- set ns.calls = ns.calls + ('\\n' if ns.calls else '') + '<tool_call>\\n{\"name\": ' "
        "+ (function['name'] | tojson) + ', \"arguments\": ' + arguments + '}\\n</tool_call>' -%}",
        "{%- endfor -%}",
        _said(record.function, "ns.calls", end),
        "{%- else -%}",
        _said(record.assistant, "content", end),
        "{%- endif -%}",
    ]
    if record.efficient_eos:
        lines.append("{%- if loop.last -%}" + _said((Mark.EOS,), "", end) + "{%- endif -%}")
    return "".join(lines)


def _results(record: TemplateRecord, end: str | None) -> str:
    wrapped = any(isinstance(s, str) and "<tool_response>\n" in s for s in record.observation)
    between = "\n</tool_response>\n<tool_response>\n" if wrapped else "\n"
    return (
        "{%- if not loop.first and turns[loop.index0 - 1]['role'] == 'tool' -%}"
        f"{{%- set ns.results = ns.results + {_quoted(between)} + content -%}}"
        "{%- else -%}{%- set ns.results = content -%}{%- endif -%}"
        "{%- if loop.last or turns[loop.index]['role'] != 'tool' -%}"
        + _asked(record.observation, "ns.results", end)
        + "{%- endif -%}"
    )


def _said(slots: Iterable[Slot], content: str, end: str | None) -> str:
    """The statements that print `slots`, `{{content}}` replaced by the expression `content`."""
    return "".join(f"{{{{- {part} -}}}}" for part in _expressions(slots, content, end))


def _joined(slots: Iterable[Slot], content: str, end: str | None) -> str:
    return " + ".join(f"({part})" for part in _expressions(slots, content, end)) or "''"


def _expressions(slots: Iterable[Slot], content: str, end: str | None) -> list[str]:
    parts: list[str] = []
    for slot in slots:
        if isinstance(slot, Mark):
            ours = _quoted(end) if slot is Mark.EOS and end else f"{slot.value} or ''"
            parts.append(ours)
            continue
        # As there, only the first place of a slot is filled.
        head, found, rest = slot.partition(CONTENT)
        parts += [_quoted(head)] if head else []
        parts += [content] if found else []
        parts += [_quoted(rest)] if rest else []
    return parts


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"
