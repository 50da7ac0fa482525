"""Rows with pictures: their placeholders, and what a reader of pictures makes of them."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from engine.datasets.cutoff import kept
from engine.datasets.example import Example
from engine.datasets.formats.fields import RowFault

if TYPE_CHECKING:
    from engine.datasets.tokenizer import FastTokenizer

PLACEHOLDER = "<image>"
READS_TEXT = "it has pictures, and the model reads only text"


@dataclass(frozen=True, slots=True)
class Laid:
    """A text with pictures as tokens. `starts[i]` is where token i begins in the text that has one
    placeholder a picture, `inside[i]` whether it is one of a picture's."""

    ids: list[int]
    starts: list[int]
    inside: list[bool]


class PictureReader(Protocol):
    """Turns pictures into tokens: by the model's own processor, or by counting alone.

    `placeholder` is the token that stands in the model's text for a picture.
    """

    placeholder: str

    def lay_out(self, text: str, names: Sequence[str]) -> Laid:
        """`text` as tokens, each placeholder as those of its picture. Raises RowFault."""
        ...


def laid_out(
    tokenizer: FastTokenizer, pieces: Sequence[str], words: Sequence[str], placeholder: str
) -> Laid:
    """The text `pieces` with `words[i]` after piece i as tokens."""
    text, replaced, at = pieces[0], [], len(pieces[0])
    for word, piece in zip(words, pieces[1:], strict=True):
        replaced.append(
            {"span": (at, at + len(placeholder)), "new_span": (len(text), len(text) + len(word))}
        )
        text += word + piece
        at += len(placeholder) + len(piece)
    encoding = tokenizer.backend.encode(text, add_special_tokens=False)
    return laid(list(encoding.ids), encoding.offsets, replaced)


def laid(
    ids: list[int], offsets: Sequence[Sequence[int]], replaced: Sequence[dict[str, Any]]
) -> Laid:
    """Tokens of an expanded text, their starts counted in the text with its placeholders.

    `offsets` are each token's in the expanded text; `replaced` tells of each placeholder its `span`
    and the `new_span` of what stands there now (transformers' `text_replacement_offsets`).
    """
    starts: list[int] = []
    reached = grown = 0  # where the last token ended; how much longer the text is up to here
    coming = list(replaced)
    inside = [False] * len(ids)
    for place, (start, end) in enumerate(offsets):
        while coming and start >= coming[0]["new_span"][1]:
            span, new = coming[0]["span"], coming[0]["new_span"]
            grown += (new[1] - new[0]) - (span[1] - span[0])
            coming.pop(0)
        # As in `engine.datasets.encode`: a token begins where the one before it ended.
        begin = min(start, reached) if end <= reached else reached
        reached = max(reached, end)
        if coming and end > coming[0]["new_span"][0]:
            inside[place] = True
            begin = min(begin, coming[0]["new_span"][0])
        at = begin - grown
        starts.append(max(at, starts[-1]) if starts else max(0, at))
    return Laid(ids, starts, inside)


def check_placeholders(example: Example) -> None:
    """Rule 49: as many placeholders as pictures, and none in an answer. Raises RowFault."""
    counted = sum(message.content.count(PLACEHOLDER) for message in example.messages)
    for answer in (example.chosen, example.rejected):
        if answer is not None and PLACEHOLDER in answer.content:
            raise RowFault(f"an answer holds {PLACEHOLDER}, and a model writes no pictures")
    for message in example.messages:
        if message.role == "assistant" and PLACEHOLDER in message.content:
            raise RowFault(f"an answer holds {PLACEHOLDER}, and a model writes no pictures")
    pictures = len(example.media)
    if counted != pictures:
        raise RowFault(
            f"its text holds {_times(counted, PLACEHOLDER)}, but it has {_times(pictures)}"
        )


def kept_around(
    inside: Sequence[bool],
    answers: Sequence[tuple[int, int]],
    room: int,
    header: Callable[[int], int],
    last_first: bool = False,
) -> list[bool]:
    """As `engine.datasets.cutoff.kept`, but the pictures' tokens stay, and the text shares what
    room they leave. Raises RowFault where they leave none, or nothing of the text behind one stays.
    """
    text = [place for place, within in enumerate(inside) if not within]
    pictures = len(inside) - len(text)
    if pictures >= room:
        raise too_long(pictures, len(inside), room)
    ranges = [(bisect.bisect_left(text, start), bisect.bisect_left(text, stop))
              for start, stop in answers]  # fmt: skip
    stays = list(inside)
    for place, mark in zip(
        text, kept(ranges, len(text), room - pictures, header, last_first), strict=True
    ):
        stays[place] = mark
    last = max((place for place in text if stays[place]), default=-1)
    if any(inside[last + 1 :]):
        raise too_long(pictures, len(inside), room)
    return stays


def too_long(pictures: int, whole: int, cutoff: int) -> RowFault:
    """Why a row is refused whose pictures the cutoff leaves no room, or no question."""
    if pictures >= cutoff:
        return RowFault(
            f"its pictures alone are {pictures:,} tokens of {whole:,}: set cutoff_len to at least "
            f"{whole:,}, or lower image_max_pixels"
        )
    return RowFault(
        f"the cutoff leaves no text behind its pictures ({pictures:,} of {whole:,} tokens): set "
        f"cutoff_len to at least {whole:,}, or lower image_max_pixels"
    )


def _times(count: int, word: str = "picture") -> str:
    if word == "picture":
        return f"{count} picture" + ("" if count == 1 else "s")
    return f"{count} {word}"
