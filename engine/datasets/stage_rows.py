"""Rows as tokens, in the form that a stage trains on: whole rows, pairs, feedback, prompts.

All hold their tokens in flat arrays (4 bytes a token), and index to what a trainer takes.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from engine.datasets.encoded import IGNORED, Encoded
from engine.datasets.medium import Medium

RowForm = Literal["tokens", "pairs", "feedback", "prompts"]
_FORMS: dict[str, RowForm] = {
    "rm": "pairs",
    "dpo": "pairs",
    "kto": "feedback",
    "ppo": "prompts",
    "grpo": "prompts",
    "rloo": "prompts",
}


def form_of(stage: str, on_samples: bool = False) -> RowForm:
    """The form of rows that a stage takes; `on_samples` is distillation on the student's own."""
    if stage == "distill" and on_samples:
        return "prompts"
    return _FORMS.get(stage, "tokens")


class StageRows(Protocol):
    """What every form of rows tells of itself."""

    cut_rows: int
    cut_tokens: int

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> dict[str, Any]: ...
    @property
    def tokens(self) -> int: ...
    def lengths(self) -> list[int]: ...


class _RowMedia:
    """The media of each row; rows without any cost nothing."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[Medium, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, row: int, media: tuple[Medium, ...]) -> None:
        if media:
            self._held[row] = media

    def of(self, row: int) -> tuple[Medium, ...]:
        return self._held.get(row, ())

    def column(self, row: int) -> dict[str, str]:
        """`media`, a JSON list of kinds and names, where any row of the set has some."""
        return {"media": json.dumps(self._held.get(row, ()))} if self._held else {}

    def facts(self) -> list[Any]:
        """As JSON takes it: each row that has media, with them."""
        return [[row, media] for row, media in self._held.items()]

    @classmethod
    def from_facts(cls, facts: Sequence[Any]) -> _RowMedia:
        rows = cls()
        rows._held = {row: tuple(Medium(*one) for one in media) for row, media in facts}
        return rows


def media_of(row: Mapping[str, Any]) -> list[Medium]:
    """The media of a row as indexing gives it."""
    return [Medium(kind, name) for kind, name in json.loads(row.get("media") or "[]")]


_FACTS = ("form", "cut_rows", "cut_tokens")


def _facts(rows: TokenRows | PartRows) -> dict[str, Any]:
    form = "tokens" if isinstance(rows, TokenRows) else "parts"
    facts = {"form": form, "cut_rows": rows.cut_rows, "cut_tokens": rows.cut_tokens}
    return {**facts, "media": rows._media.facts()} if rows._media else facts


class TokenRows:
    """Rows of tokens in flat arrays, 5 bytes a token; indexing gives what a trainer takes.

    `rows[i]` is `{"input_ids": [...], "labels": [...]}`, labels -100 where nothing is learnt; with
    `media`, a JSON list of kinds and names, in a set where rows have some.
    """

    def __init__(self) -> None:
        self._ids: Any = array("i")
        self._trained: Any = bytearray()
        self._ends: Any = array("Q")
        self._media = _RowMedia()
        self.trained_tokens = 0
        self.cut_rows = 0
        self.cut_tokens = 0

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], facts: Mapping[str, Any]) -> TokenRows:
        """Rows over the arrays of `flat()`, such as a mapped file's; nothing can be appended."""
        rows = cls()
        rows._ids, rows._trained, rows._ends = (flat[name] for name in ("ids", "trained", "ends"))
        for name in _FACTS[1:]:
            setattr(rows, name, facts[name])
        rows.trained_tokens = facts["trained_tokens"]
        rows._media = _RowMedia.from_facts(facts.get("media", ()))
        return rows

    def flat(self) -> dict[str, Any]:
        """`ids` (int32), `trained` (a byte each) and `ends` (uint64, of each row), as buffers."""
        return {"ids": self._ids, "trained": self._trained, "ends": self._ends}

    def facts(self) -> dict[str, Any]:
        """What else there is to be kept of the rows, as JSON takes it."""
        return {"trained_tokens": self.trained_tokens, **_facts(self)}

    @property
    def has_media(self) -> bool:
        return bool(self._media)

    def chosen(self, order: Sequence[int]) -> TokenRows:
        """The rows of these numbers, in this order; a number may stand there several times."""
        rows = TokenRows()
        for index in order:
            start, end = self._ends[index - 1] if index else 0, self._ends[index]
            rows._media.add(len(rows), self._media.of(index))
            rows._ids.extend(self._ids[start:end])
            rows._trained.extend(self._trained[start:end])
            rows._ends.append(len(rows._ids))
            rows.trained_tokens += sum(self._trained[start:end])
        rows.cut_rows, rows.cut_tokens = self.cut_rows, self.cut_tokens
        return rows

    def append_row(self, row: Mapping[str, Any]) -> None:
        """A row as indexing gives it."""
        marks = [label >= 0 for label in row["labels"]]
        self.append(Encoded(row["input_ids"], marks, 0, ""))

    def append(self, row: Encoded) -> None:
        self._media.add(len(self), row.media)
        self._ids.extend(row.ids)
        self._trained.extend(row.trained)
        self._ends.append(len(self._ids))
        self.trained_tokens += sum(row.trained)
        self.cut_rows += row.cut > 0
        self.cut_tokens += row.cut

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start, end = self._ends[index - 1] if index else 0, self._ends[index]
        ids = self._ids[start:end].tolist()
        pairs = zip(ids, self._trained[start:end], strict=True)
        labels = [i if mark else IGNORED for i, mark in pairs]
        return {"input_ids": ids, "labels": labels, **self._media.column(index)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    @property
    def tokens(self) -> int:
        """Tokens of all rows, after the cutoff."""
        return len(self._ids)

    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [end - (self._ends[i - 1] if i else 0) for i, end in enumerate(self._ends)]


@dataclass(frozen=True, slots=True)
class EncodedParts:
    """A row as several runs of tokens: a prompt first, then its answers.

    `parts` are named by the form of the rows; `extra` is what else the row carries (a label, the
    prompt's text). `cut` is how many tokens the cutoff took, `media` are those of the prompt.
    """

    parts: tuple[list[int], ...]
    extra: tuple[Any, ...] = ()
    cut: int = 0
    media: tuple[Medium, ...] = ()


class PartRows:
    """Rows of a prompt and its answers, each a run of tokens, with further plain columns.

    `rows[i]` holds a list under each name of `parts` and a value under each name of `extra`, and
    `media` as in `TokenRows`.
    """

    def __init__(self, parts: Sequence[str], extra: Sequence[str] = ()) -> None:
        self.parts = tuple(parts)
        self.extra = tuple(extra)
        self._ids: Any = array("i")
        self._ends: Any = array("Q")
        self._extra: list[tuple[Any, ...]] = []
        self._media = _RowMedia()
        self.cut_rows = 0
        self.cut_tokens = 0

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], facts: Mapping[str, Any]) -> PartRows:
        """As `TokenRows.from_flat`."""
        rows = cls(facts["parts"], facts["extra"])
        rows._ids, rows._ends = flat["ids"], flat["ends"]
        rows._extra = [tuple(values) for values in facts["values"]]
        rows._media = _RowMedia.from_facts(facts.get("media", ()))
        for name in _FACTS[1:]:
            setattr(rows, name, facts[name])
        return rows

    def flat(self) -> dict[str, Any]:
        """`ids` (int32) and `ends` (uint64, of each part of each row), as buffers."""
        return {"ids": self._ids, "ends": self._ends}

    def facts(self) -> dict[str, Any]:
        """What else there is to be kept of the rows, as JSON takes it."""
        return {"parts": self.parts, "extra": self.extra, "values": self._extra, **_facts(self)}

    @property
    def has_media(self) -> bool:
        return bool(self._media)

    def chosen(self, order: Sequence[int]) -> PartRows:
        """As `TokenRows.chosen`."""
        rows = PartRows(self.parts, self.extra)
        for index in order:
            row = self[index]
            parts = tuple(row[name] for name in self.parts)
            rows.append(EncodedParts(parts, self._extra[index], media=self._media.of(index)))
        rows.cut_rows, rows.cut_tokens = self.cut_rows, self.cut_tokens
        return rows

    def append_row(self, row: Mapping[str, Any]) -> None:
        """A row as indexing gives it."""
        parts = tuple(row[name] for name in self.parts)
        self.append(EncodedParts(parts, tuple(row[name] for name in self.extra)))

    def append(self, row: EncodedParts) -> None:
        self._media.add(len(self), row.media)
        for ids in row.parts:
            self._ids.extend(ids)
            self._ends.append(len(self._ids))
        self._extra.append(row.extra)
        self.cut_rows += row.cut > 0
        self.cut_tokens += row.cut

    def __len__(self) -> int:
        return len(self._extra)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        row: dict[str, Any] = {}
        for place, name in enumerate(self.parts, index * len(self.parts)):
            start, end = self._ends[place - 1] if place else 0, self._ends[place]
            row[name] = self._ids[start:end].tolist()
        row |= dict(zip(self.extra, self._extra[index], strict=True))
        return row | self._media.column(index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    @property
    def tokens(self) -> int:
        """Tokens of all rows, a prompt counted once for each of its answers."""
        answers = max(1, len(self.parts) - 1)
        total = 0
        for index in range(len(self)):
            sizes = self._sizes(index)
            total += sizes[0] * answers + sum(sizes[1:])
        return total

    def lengths(self) -> list[int]:
        """Tokens of the longest sequence of each row: its prompt with its longest answer."""
        found = []
        for index in range(len(self)):
            sizes = self._sizes(index)
            found.append(sizes[0] + max(sizes[1:], default=0))
        return found

    def _sizes(self, index: int) -> list[int]:
        first = index * len(self.parts)
        return [
            self._ends[place] - (self._ends[place - 1] if place else 0)
            for place in range(first, first + len(self.parts))
        ]


def new_rows(form: RowForm) -> TokenRows | PartRows:
    """Empty rows of a form."""
    if form == "pairs":
        return PartRows(("prompt_ids", "chosen_ids", "rejected_ids"))
    if form == "feedback":
        return PartRows(("prompt_ids", "completion_ids"), ("label",))
    if form == "prompts":
        return PartRows(("prompt_ids",), ("prompt", "answer"))
    return TokenRows()
