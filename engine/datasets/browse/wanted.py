"""What a row must hold: a text or a regular expression, or roles and lengths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets.example import Example
    from engine.datasets.rows import RowIndex

# An expression that takes longer than this on one row is given up.
SECONDS_A_ROW = 2.0
# What may read as plain letters: JSON's \u0041, and the few letters (ß, ſ, ﬁ, …) that lower case
# turns into plain ones, written out or in UTF-8.
_WRITTEN_OUT = re.compile(rb"\\u(?:00[2-7]|00df|0130|0149|017f|01f0|1e9|212a|fb0)", re.IGNORECASE)
_TURNED_PLAIN = (
    b"\xc3\x9f", b"\xc4\xb0", b"\xc5\x89", b"\xc5\xbf", b"\xc7\xb0", b"\xe1\xba", b"\xe2\x84\xaa",
    b"\xef\xac",
)  # fmt: skip
# Signs that no JSON writer puts a backslash before.
_PLAIN = re.compile(r"[A-Za-z0-9 .:;?!()+*=_-]+")

Test = Callable[["RowIndex", int], bool]
# Whether a stretch of a file's bytes may hold such a row at all.
Skim = Callable[[bytes], bool]


@dataclass(frozen=True)
class Wanted:
    """A test of single rows, and a quick one of bytes that rules most of them out (None: none)."""

    test: Test
    skim: Skim | None = None
    # Where in a text it stands, if there.
    find: Callable[[str], tuple[int, int] | None] | None = None


def words(value: Any) -> Iterator[str]:
    """All texts in a row, whole numbers too, but not the names of its fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from words(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from words(item)
    elif isinstance(value, int):
        yield str(value)


def with_text(text: str) -> Wanted:
    """Rows that hold a text, in upper or lower case. Raises BadInput for an empty one."""
    if not text:
        raise _bad("There is nothing to look for.", text, "Type a text.")
    wanted = text.casefold()

    def test(rows: RowIndex, index: int) -> bool:
        return any(wanted in one.casefold() for one in words(_row(rows, index)))

    def find(one: str) -> tuple[int, int] | None:
        at = one.casefold().find(wanted)
        return (at, at + len(text)) if at >= 0 else None

    return Wanted(test, _skim_for(text), find)


def _skim_for(text: str) -> Skim | None:
    if _PLAIN.fullmatch(text):
        plain = text.lower().encode()
        return lambda raw: plain in raw.lower() or _odd(raw)
    if text.isalpha() and text.lower() == text.upper():
        # A script without case, such as Chinese.
        as_is = text.encode()
        return lambda raw: as_is in raw or b"\\u" in raw
    return None


def _odd(raw: bytes) -> bool:
    if b"\\u" in raw and _WRITTEN_OUT.search(raw):
        return True
    return not raw.isascii() and any(sign in raw for sign in _TURNED_PLAIN)


def with_pattern(pattern: str) -> Wanted:
    """Rows that a regular expression finds something in, in upper or lower case unless it says
    otherwise (`(?-i:…)`). Raises BadInput for one that is none.

    An expression that runs away (`(a+)+$`) is given up after two seconds on a row: the test raises
    BadInput, naming the row.
    """
    import regex

    try:
        # As the standard library reads it, plus what `regex` can do beyond.
        found = regex.compile(pattern, regex.IGNORECASE | regex.MULTILINE)
    except regex.error as error:
        raise _bad(
            f"This is not a regular expression: {error}.", pattern, "Put \\ before signs meant "
            "as they stand: ( ) [ ] . * + ?"
        ) from None  # fmt: skip
    if not pattern:
        raise _bad("There is nothing to look for.", pattern, "Type an expression.")

    def test(rows: RowIndex, index: int) -> bool:
        try:
            return any(
                # Others may run meanwhile, the screen among them.
                found.search(one, timeout=SECONDS_A_ROW, concurrent=True) is not None
                for one in words(_row(rows, index))
            )
        except TimeoutError:
            raise _bad(
                f"The expression takes more than {SECONDS_A_ROW:g} s on row {index + 1:,}.",
                pattern,
                "Nested repeats such as (a+)+ take for ever: write them in another way.",
            ) from None

    def find(one: str) -> tuple[int, int] | None:
        match = found.search(one, timeout=SECONDS_A_ROW)
        return match.span() if match is not None else None

    return Wanted(test, None, find)


def excerpt(rows: RowIndex, index: int, wanted: Wanted, around: int) -> str:
    """The place of a row where what is wanted stands, in one line, with `around` characters on
    either side."""
    for one in words(_row(rows, index)):
        place = wanted.find(one) if wanted.find is not None else None
        if place is not None:
            first, last = max(0, place[0] - around), place[1] + around
            text = " ".join(one[first:last].split())
            return f"{'…' if first else ''}{text}{'…' if last < len(one) else ''}"
    return ""


_CONDITION = re.compile(r"(role|turns|chars|bad)(?:(<=|>=|=|<|>)(\S+))?")
_ROLES = ("user", "assistant", "system", "tool")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
FILTERS = "role=tool  turns>4  chars>2000  bad"


def with_filter(text: str) -> Wanted:
    """Rows that meet every condition of `text`: `role=tool` (one of its turns), `turns>4` (turns,
    without the opening system text), `chars>2000` (characters of all turns), `bad` (can't be used).
    Raises BadInput, naming the condition that can't be read."""
    conditions = [_condition(word) for word in text.split()]
    if not conditions:
        raise _bad("There is no condition.", text, f"For example: {FILTERS}")

    def test(rows: RowIndex, index: int) -> bool:
        from engine.datasets.example import Example

        example = rows.example(index)
        good = example if isinstance(example, Example) else None
        return all(holds(good) for holds in conditions)

    return Wanted(test)


def _condition(word: str) -> Callable[[Example | None], bool]:
    match = _CONDITION.fullmatch(word)
    if match is None:
        raise _bad(f"The condition {word!r} is not known.", word, f"For example: {FILTERS}")
    name, sign, value = match.groups()
    if name == "bad" and sign is None:
        return lambda example: example is None
    if name == "role" and sign == "=" and value in _ROLES:
        return lambda example: example is not None and value in _roles(example)
    number = (value or "").replace(",", "")
    if name in ("turns", "chars") and sign and number.isdecimal():
        compare, limit = _COMPARE[sign], int(number)
        measure = _turns if name == "turns" else _chars
        return lambda example: example is not None and compare(measure(example), limit)
    hints = {
        "role": f"Give one of {', '.join(_ROLES)}: role=tool",
        "bad": "It stands alone: bad",
    }
    raise _bad(
        f"The condition {word!r} can't be read.",
        word,
        hints.get(name, f"Compare it with a number: {name}>100"),
    )


def _roles(example: Example) -> set[str]:
    found: set[str] = {message.role for message in example.messages}
    if example.system:
        found.add("system")
    if example.chosen is not None or example.rejected is not None:
        found.add("assistant")
    return found


def _turns(example: Example) -> int:
    return len(example.messages) + (example.chosen is not None)


def _chars(example: Example) -> int:
    said = [*example.messages, example.chosen, example.rejected]
    own = sum(len(one.content) + len(one.thoughts) for one in said if one is not None)
    return own + len(example.system) + len(example.text)


def _row(rows: RowIndex, index: int) -> Any:
    try:
        return rows.raw(index)
    except BadInput:
        return None  # a faulty row holds nothing; the filter `bad` finds it


def _bad(what: str, where: str, hint: str) -> BadInput:
    return BadInput(Problem(what, where, hint))
