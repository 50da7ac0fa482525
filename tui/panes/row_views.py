"""How a row reads: a conversation, a pair of answers, a judged answer, a prompt, plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import cell_len

from engine.config.method import WRITING_STAGES
from tui.language import _, listed
from tui.language import marked as _m
from tui.widgets.ascii import ascii_only
from tui.widgets.frame import Line, Span, line_width
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import cells_of, visible, wrap_cells

if TYPE_CHECKING:
    from engine.datasets import Example
    from engine.datasets.example import Message
    from engine.datasets.media.preview import Cell, Preview
    from engine.worker.questions import RowView

VIEWS = ("conversation", "tokens", "raw")
# The first view is called after what the row is.
_FIRST = {"preference": _m("pair"), "feedback": _m("feedback"), "text": _m("text")}
_PART_ROLES = {"prompt": "dim", "trained": "accent", "cut": "warning strike",
               "picture": "series2", "video": "series2", "sound": "series2"}  # fmt: skip
# The parts of media: what their tokens are called as one, and all of a row's together.
MEDIA_PARTS = {
    "picture": (_m("picture: {count} tokens"), _m("of pictures")),
    "video": (_m("video: {count} tokens"), _m("of videos")),
    "sound": (_m("sound: {count} tokens"), _m("of sounds")),
}
# Where there are no colours: signs around the parts, and what the terminal has besides.
_PLAIN_ROLES = {**_PART_ROLES, "trained": "accent bold"}
_PLAIN_SIGNS = {"trained": ("[", "]"), "cut": ("{", "}")}
# What stands in a turn for a medium (`engine.datasets.medium`).
_PLACEHOLDERS = {"image": "<image>", "video": "<video>", "audio": "<audio>"}
# From here on two answers stand side by side.
SIDE_BY_SIDE = 80
# Longer answers are compared only at their ends: the exact way takes the square of their words.
MOST_WORDS = 1500
# A word, a character of a script without blanks, a sign, or a gap.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+|\s+|.", re.DOTALL)


def first_view(row: RowView | None, stage: str) -> str:
    """What the first view of a row is called."""
    if row is None or row.example is None:
        return VIEWS[0]
    if stage in WRITING_STAGES and row.example.kind in ("conversation", "preference"):
        return _m("prompt")
    return _FIRST.get(row.example.kind, VIEWS[0])


def row_lines(
    example: Example | None, stage: str, width: int, previews: Sequence[Preview] = ()
) -> list[Line]:
    """A row as `stage` takes it, in lines of `width` cells; its pictures stand under the turns
    that hold them."""
    if example is None:
        return []
    if example.kind == "text":
        return _block(_("text"), "assistant", example.text, width)
    if example.kind == "feedback" and example.label is not None:
        word, role = (_("✓ good"), "ok") if example.label else (_("✗ bad"), "error")
        told: Line = [(f"{_('label')}  ", "dim"), (word, f"{role} bold")]
        return [told, [], *_talk(example, example.messages, width, previews)]
    if stage in WRITING_STAGES and example.kind in ("conversation", "preference"):
        return _prompt_lines(example, width)
    lines = _talk(example, example.messages, width, previews)
    if example.chosen is not None and example.rejected is not None:
        lines += pair_lines(_said(example.chosen), _said(example.rejected), width)
    return lines


def _prompt_lines(example: Example, width: int) -> list[Line]:
    """What the model is asked, and the answer that a reward function may compare with."""
    messages, reference = example.messages, ""
    if example.chosen is not None:
        reference = _said(example.chosen)
    elif messages and messages[-1].role == "assistant":
        messages, reference = messages[:-1], _said(messages[-1])
    lines = _talk(example, messages, width)
    if reference:
        lines += _block(_("reference answer"), "dim", reference, width)
    return lines


def _talk(
    example: Example,
    messages: Iterable[Message],
    width: int,
    previews: Sequence[Preview] = (),
) -> list[Line]:
    lines: list[Line] = []
    coming = list(previews)
    if example.tools:
        names = listed(_tool_name(tool) for tool in example.tools)
        lines += _block(_("tools"), "tool", names, width)
    if example.system:
        lines += _block(_("system"), "system", example.system, width)
    for message in messages:
        lines += _block(_(message.role), message.role, _said(message), width)
        for one in _here(message.content, coming):
            coming.remove(one)
            lines += [*picture_lines(one, width), []]
    for one in coming:
        lines += [*picture_lines(one, width), []]
    return lines


def _here(content: str, coming: Sequence[Preview]) -> list[Preview]:
    """Those of the coming media that have their places in this turn, in the order of its places."""
    queues = {kind: [one for one in coming if one.kind == kind] for kind in _PLACEHOLDERS}
    places = sorted(
        (found.start(), kind)
        for kind, token in _PLACEHOLDERS.items()
        if queues[kind]
        for found in re.finditer(token, content)
    )
    return [queues[kind].pop(0) for _at, kind in places if queues[kind]]


def picture_lines(shown: Preview, width: int) -> list[Line]:
    """A picture in cells, and what it is; only that where it can't be drawn."""
    lines: list[Line] = []
    for row in () if ascii_only() else shown.lines:
        lines.append([("  ", "text"), *_cells(row[: max(0, width - 2)])])
    role = "error" if shown.problem else "dim"
    told = visible(f"{shown.title} {shown.name}")
    return [*lines, *([("  " + part, role)] for part in wrap_cells(told, width - 2))]


def _cells(row: Sequence[Cell]) -> list[Span]:
    """Cells as spans, neighbours of the same colours in one."""
    spans: list[Span] = []
    for cell in row:
        role = "text"
        if cell.upper is not None and cell.lower is not None:
            role = f"{_hex(cell.upper)},{_hex(cell.lower)}"
        if spans and spans[-1][1] == role:
            spans[-1] = (spans[-1][0] + cell.text, role)
        else:
            spans.append((cell.text, role))
    return spans


def _hex(colour: tuple[int, int, int]) -> str:
    # Five bits a colour are enough for a glance, and cost a slow line fewer changes.
    return "#" + "".join(f"{part & 0xF8:02x}" for part in colour)


def _said(message: Message) -> str:
    calls = [
        json.dumps(call.get("function", call), ensure_ascii=False) for call in message.tool_calls
    ]
    return "\n".join(part for part in (message.thoughts, message.content, *calls) if part)


def _block(head: str, role: str, text: str, width: int) -> list[Line]:
    lines: list[Line] = [[(head, role)]]
    for part in wrap_cells(visible(text, keep_newlines=True), width - 2):
        lines.append([("  " + part, "text")])
    return [*lines, []]


def _tool_name(tool: object) -> str:
    if isinstance(tool, dict):
        inner = tool.get("function", tool)
        if isinstance(inner, dict):
            return str(inner.get("name", "?"))
    return "?"


# Two answers


def pair_lines(chosen: str, rejected: str, width: int) -> list[Line]:
    """The better and the worse answer, side by side where there is room, what differs marked."""
    better, worse = told_apart(
        visible(chosen, keep_newlines=True), visible(rejected, keep_newlines=True)
    )
    heads: tuple[Line, Line] = (
        [(f"✓ {_('chosen')}", "ok bold")], [(f"✗ {_('rejected')}", "error bold")]
    )  # fmt: skip
    if width < SIDE_BY_SIDE:
        lines: list[Line] = []
        for head, spans, role in ((heads[0], better, "ok"), (heads[1], worse, "error")):
            lines += [head, *([("  ", "text"), *one] for one in _wrapped(spans, role, width - 2))]
            lines.append([])
        return lines
    column = (width - 3) // 2
    left = [heads[0], *_wrapped(better, "ok", column)]
    right = [heads[1], *_wrapped(worse, "error", column)]
    lines = []
    for place in range(max(len(left), len(right))):
        one = left[place] if place < len(left) else []
        two = right[place] if place < len(right) else []
        gap = " " * (column - line_width(one))
        lines.append([*one, (gap, "text"), (" │ ", "dim"), *two])
    return [*lines, []]


def told_apart(first: str, second: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts in pieces, each with whether it differs from the other text, word by word."""
    one, two = _WORD.findall(first), _WORD.findall(second)
    if len(one) > MOST_WORDS or len(two) > MOST_WORDS:
        return _apart_by_ends(one, two)
    from difflib import SequenceMatcher

    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for kind, a, b, c, d in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        differs = kind != "equal"
        if b > a:
            left.append(("".join(one[a:b]), differs))
        if d > c:
            right.append(("".join(two[c:d]), differs))
    return left, right


def _apart_by_ends(
    one: list[str], two: list[str]
) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """All between the common beginning and the common end differs."""
    least = min(len(one), len(two))
    start = next((n for n in range(least) if one[n] != two[n]), least)
    tail = next((n for n in range(least - start) if one[-1 - n] != two[-1 - n]), least - start)

    def parts(words: list[str]) -> list[tuple[str, bool]]:
        end = len(words) - tail
        cut = ((words[:start], False), (words[start:end], True), (words[end:], False))
        return [("".join(some), differs) for some, differs in cut if some]

    return parts(one), parts(two)


def _wrapped(pieces: list[tuple[str, bool]], role: str, width: int) -> list[list[Span]]:
    """The pieces in lines of at most `width` cells; what differs in `role` and underlined, so that
    it is seen without colours."""
    text = "".join(part for part, _differs in pieces)
    marks = [differs for part, differs in pieces for _char in part]
    lines: list[list[Span]] = []
    place = 0
    for line in wrap_cells(text, width):
        # Wrapping drops nothing but blanks and line ends between the lines.
        place = max(place, text.find(line, place))
        spans: list[Span] = []
        for char, differs in zip(line, marks[place:], strict=False):
            own = f"{role} underline" if differs and not char.isspace() else "text"
            if spans and (spans[-1][1] == own or (char == " " and differs)):
                spans[-1] = (spans[-1][0] + char, spans[-1][1])
            else:
                spans.append((char, own))
        place += len(line)
        lines.append(spans)
    return lines


# Tokens


def with_media(pieces: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The tokens with those of each picture, video or sound as one: `⟨picture: 256 tokens⟩`."""
    found: list[tuple[str, str]] = []
    run = 0
    for text, part in pieces:
        if part not in MEDIA_PARTS:
            found.append((text, part))
            continue
        run += 1
        if text:
            # The last of a medium's tokens carries its placeholder.
            words = _(MEDIA_PARTS[part][0]).replace("{count}", str(run))
            found.append((f"⟨{words}⟩", part))
            run = 0
    return found


def media_told(parts: Sequence[str]) -> str:
    """How many tokens are of pictures, videos and sounds; empty where none is."""
    counts = {part: parts.count(part) for part in MEDIA_PARTS}
    told = (f"{thousands(n)} {_(MEDIA_PARTS[part][1])}" for part, n in counts.items() if n)
    return listed(told)


def _with_signs(pieces: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The trained part in brackets, what is cut off in braces."""
    signed: list[tuple[str, str]] = []
    for part, run in groupby(pieces, key=lambda piece: piece[1]):
        begin, end = _PLAIN_SIGNS.get(part, ("", ""))
        signed += [(begin, part), *run, (end, part)]
    return signed


def token_lines(pieces: list[tuple[str, str]], width: int, plain: bool = False) -> list[Line]:
    """Tokens laid out in lines of `width` cells, blanks as `·` and line ends as `⏎`, each part in
    its colour (`plain`: there are none, signs stand around the parts); neighbours of one part share
    a span."""
    lines: list[Line] = []
    line: list[Span] = []
    used = 0
    for text, part in _with_signs(pieces) if plain else pieces:
        role = (_PLAIN_ROLES if plain else _PART_ROLES)[part]
        shown = visible(text.replace("\n", "⏎").replace(" ", "·"))
        for cell in cells_of(shown):
            if not cell:
                continue
            wide = cell_len(cell)
            if used + wide > width:
                lines.append(line)
                line, used = [], 0
            if line and line[-1][1] == role:
                line[-1] = (line[-1][0] + cell, role)
            else:
                line.append((cell, role))
            used += wide
            if cell == "⏎" and used > width * 3 // 4:
                lines.append(line)
                line, used = [], 0
    if line:
        lines.append(line)
    return lines
