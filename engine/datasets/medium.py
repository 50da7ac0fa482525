"""A picture, a video or a sound that a row points to, and what people and templates call each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["image", "video", "audio"]
KINDS: tuple[Kind, ...] = ("image", "video", "audio")

# What stands in a row's text for one of each kind.
PLACEHOLDERS: dict[Kind, str] = {"image": "<image>", "video": "<video>", "audio": "<audio>"}
ANY_PLACEHOLDER = re.compile("|".join(PLACEHOLDERS.values()))
_WORDS: dict[Kind, str] = {"image": "picture", "video": "video", "audio": "sound"}


class Medium(NamedTuple):
    """One of a row's media; `name` is its path as the row has it."""

    kind: Kind
    name: str


def word(kind: Kind) -> str:
    """What people call one of a kind: picture, video, sound."""
    return _WORDS[kind]


def words(kinds: Iterable[Kind]) -> str:
    """Kinds in the plural, in their usual order: "pictures and sounds"."""
    given = set(kinds)
    return " and ".join(f"{_WORDS[kind]}s" for kind in KINDS if kind in given)


def kinds_of(media: Iterable[Medium]) -> tuple[Kind, ...]:
    """The kinds among `media`, in their usual order."""
    given = {medium.kind for medium in media}
    return tuple(kind for kind in KINDS if kind in given)


def times(count: int, kind: Kind) -> str:
    """ "1 picture", "2 sounds"."""
    return f"{count} {_WORDS[kind]}" + ("" if count == 1 else "s")


def pictures(names: Iterable[str]) -> tuple[Medium, ...]:
    """Names as those of pictures."""
    return tuple(Medium("image", name) for name in names)
