"""What a row is on its way to tokens, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.datasets.answers import Span
from engine.datasets.media_rows import Laid
from engine.datasets.medium import Kind, Medium

IGNORED = -100  # the label that torch's cross entropy leaves out


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as tokens. `trained[i]` tells whether token i counts in the loss; `labels` hold the
    id there and -100 elsewhere. `cut` is how many tokens the cutoff took, `text` the whole text
    before that. `media` are the row's, those of a kind in the order of their
    tokens."""

    ids: list[int]
    trained: list[bool]
    cut: int
    text: str
    media: tuple[Medium, ...] = ()

    @property
    def labels(self) -> list[int]:
        pairs = zip(self.ids, self.trained, strict=True)
        return [token if trained else IGNORED for token, trained in pairs]


# The last three are those of media.
Part = Literal["prompt", "trained", "cut", "picture", "video", "sound"]
_PARTS: dict[Kind, Part] = {"image": "picture", "video": "video", "audio": "sound"}


@dataclass(frozen=True, slots=True)
class TokenPiece:
    """One token for the token view; the pieces' texts joined are the row's text (a medium's tokens
    but the last have none)."""

    text: str
    id: int
    part: Part


@dataclass(frozen=True, slots=True)
class Plan:
    """A row rendered: its text, the answers in it, and what the cutoff needs to know of turns.
    `marked` is the row as tokens where it has `media`."""

    text: str
    spans: list[Span]
    turns: list[dict[str, Any]]
    tools: list[Mapping[str, Any]] | None
    laid: Laid | None = None
    marked: Marked | None = None
    media: tuple[Medium, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A row up to its last answer, which stands at ids[start:stop]. `header` is how many tokens
    before it open its turn. `inside` tells which tokens are of media, where there are any."""

    ids: list[int]
    start: int
    stop: int
    header: int
    inside: list[bool] | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    ids: list[int]
    starts: list[int]
    trained: list[bool]
    stays: list[bool] | None
    text: str


def token_pieces(
    row: Marked, laid: Laid | None, placeholders: Mapping[Kind, str]
) -> list[TokenPiece]:
    """A row's tokens for the token view, those of a medium told by the placeholder that the last of
    them carries."""
    ends = [*row.starts[1:], len(row.text)]
    pieces: list[TokenPiece] = []
    medium: Part = "picture"
    for place in range(len(row.ids) - 1, -1, -1):
        text = row.text[row.starts[place] : ends[place]]
        part: Part = "prompt"
        if row.stays is not None and not row.stays[place]:
            part = "cut"
        elif row.trained[place]:
            part = "trained"
        elif laid is not None and laid.inside[place]:
            held = [kind for kind, token in placeholders.items() if token in text]
            medium = _PARTS[held[0]] if held else medium
            part = medium
        pieces.append(TokenPiece(text, row.ids[place], part))
    pieces.reverse()
    return pieces
