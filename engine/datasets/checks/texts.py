"""Faults inside texts: special tokens, damaged encoding, control characters, placeholders."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from engine.datasets.example import Example, Message

# A word in double braces; spaces inside are usual.
_PLACEHOLDER = re.compile(r"\{\{\s*[A-Za-z_][\w.]*\s*\}\}")
# C0 but tab and line ends, DEL, and C1.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# What UTF-8 looks like when it was read as Windows-1252 or Latin-1: a lead byte's sign and the
# signs of its continuation bytes.
_TAIL = (
    "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014"
    "\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122"
)
_MOJIBAKE = re.compile(
    f"[\u00c2-\u00df][{_TAIL}]|[\u00e0-\u00ef][{_TAIL}]{{2}}|\u00f0[{_TAIL}]{{3}}"
)
# How published templates open and close turns; in a text they read as if another turn began.
_ROLE_MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "<|begin_of_text|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<|endoftext|>",
    "<|assistant|>",
    "<|user|>",
    "<|end_of_sentence|>",
)


class TextScan:
    """Looks through the texts of rows, for a tokenizer with these special tokens."""

    def __init__(self, specials: Collection[str]) -> None:
        # Marks of thoughts are meant to stand in answers, those of pictures in questions.
        marks = {*specials, *_ROLE_MARKS}
        kept = sorted(
            (one for one in marks if len(one) > 2 and "think" not in one and one != "<image>"),
            key=lambda one: (-len(one), one),
        )
        self._specials = re.compile("|".join(map(re.escape, kept)))

    def faults(self, example: Example) -> Iterator[tuple[str, str]]:
        """(kind, what was met) of a row: special, placeholder, control, replaced, mojibake."""
        seen = set()
        for text in texts_of(example):
            for kind, found in self._text(text):
                if kind not in seen:
                    seen.add(kind)
                    yield kind, found

    def _text(self, text: str) -> Iterator[tuple[str, str]]:
        if found := self._specials.search(text):
            yield "special", found[0]
        if "{{" in text and (found := _PLACEHOLDER.search(text)):
            yield "placeholder", found[0]
        if found := _CONTROL.search(text):
            yield "control", f"U+{ord(found[0]):04X}"
        if text.isascii():
            return
        if "\ufffd" in text:
            yield "replaced", "U+FFFD"
        for found in _MOJIBAKE.finditer(text):
            right = _repaired(found[0])
            if right:
                yield "mojibake", f"{found[0]} for {right}"
                return


def _repaired(text: str) -> str:
    """What the signs were before they were read wrongly; empty where they are no UTF-8."""
    raw = bytearray()
    for sign in text:
        try:
            raw += sign.encode("cp1252")
        except UnicodeEncodeError:
            if ord(sign) > 0xFF:
                return ""
            raw.append(ord(sign))
    try:
        right = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    # Two signs that happen to stand together in French or Portuguese: « is no letter's tail.
    return right if len(right) == 1 and right.isprintable() else ""


def texts_of(example: Example) -> Iterator[str]:
    """Every text of a row that a model would read or learn."""
    for text in (example.system, example.text):
        if text:
            yield text
    for message in messages_of(example):
        if message.content:
            yield message.content
        if message.thoughts:
            yield message.thoughts


def messages_of(example: Example) -> Iterator[Message]:
    """The turns of a row, its pair of answers included."""
    yield from example.messages
    for message in (example.chosen, example.rejected):
        if message is not None:
            yield message


def question_of(example: Example) -> str:
    """All that is asked: the system text and the turns before the last answer."""
    turns = [f"{one.role}: {one.content}" for one in example.messages]
    if example.chosen is None and turns and example.messages[-1].role == "assistant":
        turns.pop()
    return "\n".join([example.system, *turns])


def answer_of(example: Example) -> str:
    """The last answer, or the better one of a pair; a text is all answer."""
    if example.kind == "text":
        return example.text
    if example.chosen is not None:
        return example.chosen.content
    last = next((one for one in reversed(example.messages) if one.role == "assistant"), None)
    return last.content if last is not None else ""
