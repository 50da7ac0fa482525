"""What a row must hold: a text or a regular expression, or roles, lengths and tokens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

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
    # Called where nobody wants to know any more.
    close: Callable[[], None] | None = None


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


def both(first: Wanted | None, second: Wanted | None) -> Wanted:
    """Rows that are wanted by each of the two, where there are two."""
    if first is None or second is None:
        found = first or second
        assert found is not None
        return found
    one, two = first, second  # for the closure

    def test(rows: RowIndex, index: int) -> bool:
        return one.test(rows, index) and two.test(rows, index)

    return Wanted(test, one.skim or two.skim, one.find or two.find, one.close or two.close)


def excerpt(rows: RowIndex, index: int, wanted: Wanted, around: int) -> str:
    """The place of a row where what is wanted stands, in one line, with `around` characters on
    either side; its beginning where it is wanted as a whole."""
    for one in words(_row(rows, index)):
        place = wanted.find(one) if wanted.find is not None else (0, around)
        if place is not None:
            first, last = max(0, place[0] - around), place[1] + around
            text = " ".join(one[first:last].split())
            return f"{'…' if first else ''}{text}{'…' if last < len(one) else ''}"
    return ""


_SIGN = r"<=|>=|=|<|>"
_CONDITION = re.compile(rf"([a-z]+)(?:({_SIGN})(\S*))?")
_SPACED = re.compile(rf"\s*({_SIGN})\s*")
_ROLES = ("user", "assistant", "system", "tool")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
_NAMES = ("role", "turns", "chars", "bad", "tokens", "trained", "cut")
# These ask for the row as the model's tokens.
_COUNTED = frozenset({"tokens", "trained", "cut"})
FILTERS = "role=tool  turns>4  chars>2000  tokens>1024  cut  trained=0  bad"


class Counted(Protocol):
    """Counts of a set's rows (`engine.datasets.browse.counted`)."""

    cutoff: int | None

    def tokens(self, index: int) -> int: ...

    def trained(self, index: int) -> int: ...

    def cancel(self) -> None: ...


class _Row:
    """A row that is read when a condition asks for it."""

    def __init__(self, rows: RowIndex, index: int, counted: Counted | None) -> None:
        self.rows = rows
        self.index = index
        self._counted = counted

    @property
    def counted(self) -> Counted:
        assert self._counted is not None
        return self._counted

    @cached_property
    def example(self) -> Example | None:
        """None for a row that can't be used."""
        from engine.datasets.example import Example

        found = self.rows.example(self.index)
        return found if isinstance(found, Example) else None


Condition = Callable[[_Row], bool]


def with_filter(text: str, counted: Counted | None = None) -> Wanted:
    """Rows that meet every condition of `text`: `role=tool` (one of its turns), `turns>4` (turns,
    without the opening system text), `chars>2000` (characters of all turns), `bad` (can't be used);
    as the model's tokens, which `counted` gives: `tokens>1024` (before the cutoff; 0: it can't be
    written for this model), `cut` (longer than the cutoff), `trained=0` (nothing of it is learned).
    Raises BadInput, naming the condition that can't be read."""
    names, conditions = _conditions(text)
    if counted is None and _COUNTED & set(names):
        raise _bad("Tokens are a model's: none is chosen.", text, "Choose a model.")

    def test(rows: RowIndex, index: int) -> bool:
        row = _Row(rows, index, counted)
        return all(holds(row) for holds in conditions)

    return Wanted(test, close=counted.cancel if counted is not None else None)


def check_filter(text: str) -> None:
    """Raise BadInput, naming the condition that can't be read."""
    _conditions(text)


def asks_for_tokens(text: str) -> bool:
    """Whether a filter needs rows as tokens. Raises BadInput as `with_filter`."""
    return bool(_COUNTED & set(_conditions(text)[0]))


def _conditions(text: str) -> tuple[list[str], list[Condition]]:
    words = _SPACED.sub(r"\1", text.lower()).split()
    if not words:
        raise _bad("There is no condition.", text, f"For example: {FILTERS}")
    read = [_condition(word) for word in words]
    # A count is looked up; a row has to be read.
    read.sort(key=lambda one: one[0] not in _COUNTED)
    return [name for name, _holds in read], [holds for _name, holds in read]


def _condition(word: str) -> tuple[str, Condition]:
    match = _CONDITION.fullmatch(word)
    name, sign, value = match.groups() if match is not None else ("", None, None)
    if name not in _NAMES:
        near = difflib.get_close_matches(name or word, _NAMES, 1)
        hint = f"Did you mean {near[0]}?" if near else f"For example: {FILTERS}"
        raise _bad(f"The condition {word!r} is not known.", word, hint)
    if name == "bad" and sign is None:
        return name, lambda row: row.example is None
    if name == "cut" and sign is None:
        return name, _is_cut
    if name == "role" and sign == "=" and value in _ROLES:
        return name, lambda row: row.example is not None and value in _roles(row.example)
    number = (value or "").replace(",", "")
    if name not in ("bad", "cut", "role") and sign and number.isdecimal():
        return name, _comparison(name, _COMPARE[sign], int(number))
    hints = {
        "role": f"Give one of {', '.join(_ROLES)}: role=tool",
        "bad": "It stands alone: bad",
        "cut": "It stands alone: cut",
        "trained": "Compare it with a number: trained=0",
    }
    raise _bad(
        f"The condition {word!r} can't be read.",
        word,
        hints.get(name, f"Compare it with a number: {name}>100"),
    )


def _comparison(name: str, compare: Callable[[int, int], bool], limit: int) -> Condition:
    if name == "tokens":
        # Of a row that can't be written there are none, which is less than nothing.
        return lambda row: _compared(row.counted.tokens(row.index), compare, limit)
    if name == "trained":
        return lambda row: (found := row.counted.trained(row.index)) >= 0 and compare(found, limit)
    measure = _turns if name == "turns" else _chars
    return lambda row: row.example is not None and compare(measure(row.example), limit)


def _compared(tokens: int, compare: Callable[[int, int], bool], limit: int) -> bool:
    return compare(tokens, limit) and (tokens > 0 or limit == 0)


def _is_cut(row: _Row) -> bool:
    cutoff = row.counted.cutoff
    return cutoff is not None and row.counted.tokens(row.index) > cutoff


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
