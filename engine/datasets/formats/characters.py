"""Characters that no tokenizer takes, and rows too long to be one."""

from __future__ import annotations

from collections.abc import Iterator

from engine.datasets.example import Example
from engine.datasets.formats.fields import RowFault

# More than any book; a tokenizer needs about 60 bytes for each character at once.
MOST_CHARACTERS = 20_000_000


def check_characters(example: Example) -> None:
    """Raise RowFault for half a surrogate pair, which is no text, and for a row without end."""
    size = 0
    for text in _texts(example):
        size += len(text)
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                half = f"\\u{ord(text[error.start]):04x}"
                raise RowFault(f"a text holds {half}, half of a character") from None
    if size > MOST_CHARACTERS:
        raise RowFault(
            f"it has {size:,} characters; the most that is read as one row is {MOST_CHARACTERS:,}"
        )


def _texts(example: Example) -> Iterator[str]:
    yield from (example.system, example.text)
    for message in (*example.messages, example.chosen, example.rejected):
        if message is not None:
            yield message.content
            yield message.thoughts
            yield from map(joined, message.tool_calls)
    yield from map(joined, example.tools)


def joined(value: object) -> str:
    """A nested value's texts as one, for a look at its characters."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(joined(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return "".join(map(joined, value))
    return ""
