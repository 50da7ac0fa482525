"""Rows with pictures, videos and sounds: their placeholders, and what a reader makes of them."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.datasets.cutoff import kept
from engine.datasets.example import Example
from engine.datasets.formats.fields import RowFault
from engine.datasets.medium import KINDS, PLACEHOLDERS, Kind, Medium, kinds_of, times, words

if TYPE_CHECKING:
    from engine.datasets.tokenizer import FastTokenizer


@dataclass(frozen=True, slots=True)
class Laid:
    """A text with media as tokens. `starts[i]` is where token i begins in the text that has one
    placeholder a medium, `inside[i]` whether it is one of a medium's."""

    ids: list[int]
    starts: list[int]
    inside: list[bool]


class MediaReader(Protocol):
    """Turns media into tokens: by the model's own processor, or by counting alone.

    `placeholders` has the kinds that the model reads, and the token that stands in its text for
    one of each; `folder` holds the model's files.
    """

    folder: Path

    @property
    def placeholders(self) -> Mapping[Kind, str]: ...

    def lay_out(self, text: str, media: Sequence[Medium]) -> Laid:
        """`text` as tokens, each placeholder as those of its medium. Raises RowFault."""
        ...


def unread(media: Iterable[Medium], reader: MediaReader | None) -> str:
    """Why the model can't take a row with these media; empty where it can."""
    reads = set(reader.placeholders) if reader is not None else set()
    missing = [kind for kind in kinds_of(media) if kind not in reads]
    if not missing:
        return ""
    # Said of all kinds that the row has, where the model reads none.
    told = words(missing)
    return f"it has {told}, and the model reads only {reads_only(reads)}"


def reads_only(kinds: Iterable[Kind]) -> str:
    """What a model of these kinds reads: "text", "text and pictures"."""
    read = words(kinds)
    return f"text and {read}" if read else "text"


def in_text_order(
    text: str, media: Sequence[Medium], placeholders: Mapping[Kind, str]
) -> tuple[list[str], list[Medium]]:
    """The pieces of `text` around its placeholders, and the medium that each is for.

    Each placeholder takes the next medium of its kind. Raises RowFault where the text, as the
    model's template wrote it, has more or fewer places than media.
    """
    queues = {kind: [one for one in media if one.kind == kind] for kind in kinds_of(media)}
    tokens = {placeholders[kind]: kind for kind in queues}
    pattern = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    parts = re.split(f"({pattern})", text)
    places = [tokens[token] for token in parts[1::2]]
    for kind, queue in queues.items():
        written = places.count(kind)
        if written != len(queue):
            raise RowFault(
                f"the model's template writes {written} of its {times(len(queue), kind)}"
            )
    coming = {kind: iter(queue) for kind, queue in queues.items()}
    return parts[0::2], [next(coming[kind]) for kind in places]


def laid_out(
    tokenizer: FastTokenizer, pieces: Sequence[str], words: Sequence[str], tokens: Sequence[str]
) -> Laid:
    """The text `pieces` with `words[i]` after piece i, in place of the placeholder `tokens[i]`."""
    text, replaced, at = pieces[0], [], len(pieces[0])
    for token, word, piece in zip(tokens, words, pieces[1:], strict=True):
        replaced.append(
            {"span": (at, at + len(token)), "new_span": (len(text), len(text) + len(word))}
        )
        text += word + piece
        at += len(token) + len(piece)
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


def check_placeholders(example: Example, reads: Iterable[Kind] = ()) -> None:
    """Rule 49: as many placeholders of a kind as media of it, and none in an answer.

    Looked at for the kinds that the row has and those in `reads`: what is no medium of the model's
    may stand in its text, as `<video>` does in web pages. Raises RowFault.
    """
    answers = [one for one in (example.chosen, example.rejected) if one is not None]
    answers += [message for message in example.messages if message.role == "assistant"]
    looked_at = {*kinds_of(example.media), *reads}
    for kind in (kind for kind in KINDS if kind in looked_at):
        token = PLACEHOLDERS[kind]
        if any(token in answer.content for answer in answers):
            raise RowFault(f"an answer holds {token}, and a model writes no {words([kind])}")
        counted = sum(message.content.count(token) for message in example.messages)
        given = sum(medium.kind == kind for medium in example.media)
        if counted != given:
            raise RowFault(f"its text holds {counted} {token}, but it has {times(given, kind)}")


def kept_around(
    media: Sequence[Medium],
    inside: Sequence[bool],
    answers: Sequence[tuple[int, int]],
    room: int,
    header: Callable[[int], int],
    last_first: bool = False,
) -> list[bool]:
    """As `engine.datasets.cutoff.kept`, but the tokens of its media stay, and the text shares what
    room they leave. Raises RowFault where they leave none, or nothing of the text behind one stays.
    """
    text = [place for place, within in enumerate(inside) if not within]
    seen = len(inside) - len(text)
    if seen >= room:
        raise too_long(media, seen, len(inside), room)
    ranges = [(bisect.bisect_left(text, start), bisect.bisect_left(text, stop))
              for start, stop in answers]  # fmt: skip
    stays = list(inside)
    for place, mark in zip(
        text, kept(ranges, len(text), room - seen, header, last_first), strict=True
    ):
        stays[place] = mark
    last = max((place for place in text if stays[place]), default=-1)
    if any(inside[last + 1 :]):
        raise too_long(media, seen, len(inside), room)
    return stays


_LESS: dict[Kind, str] = {
    "image": "or lower image_max_pixels",
    "video": "or lower video_maxlen or video_max_pixels",
    "audio": "or cut the sound shorter",
}


def too_long(media: Sequence[Medium], seen: int, whole: int, cutoff: int) -> RowFault:
    """Why a row is refused whose media the cutoff leaves no room, or no question."""
    kinds = kinds_of(media)
    less = f"set cutoff_len to at least {whole:,}, {_LESS[kinds[-1]]}"
    if seen >= cutoff:
        return RowFault(f"its {words(kinds)} alone are {seen:,} tokens of {whole:,}: {less}")
    return RowFault(
        f"the cutoff leaves no text behind its {words(kinds)} ({seen:,} of {whole:,} tokens): "
        f"{less}"
    )
