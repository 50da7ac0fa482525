"""A set that is about to be added: what its entry will say, still open to correction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from engine.datasets.dataset_info import Columns, DatasetInfo, Formatting, Tags, read_entry

Judged = Literal["one answer", "better and worse", "good or bad"]
RowsAre = Literal["alpaca", "sharegpt", "openai", "text"]
ROWS_ARE: tuple[RowsAre, ...] = ("alpaca", "sharegpt", "openai", "text")
JUDGED: tuple[Judged, ...] = ("one answer", "better and worse", "good or bad")

_MEDIA = ("images", "videos", "audios")
_ALPACA = ("prompt", "query", "history", "system", "tools", *_MEDIA)
_LISTS = ("messages", "system", "tools", *_MEDIA)
COLUMN_NAMES = tuple(Columns.__dataclass_fields__)
TAG_NAMES = tuple(Tags.__dataclass_fields__)


@dataclass(frozen=True)
class ColumnFacts:
    """A column of the file: what its values are, in how many of the rows looked at it has one, and
    one of them, short."""

    name: str
    kind: str
    filled: int
    sample: str


@dataclass(frozen=True)
class Draft:
    """An entry that can still be corrected, with the rows it was made out.

    `source` are the entry's keys that say where the rows are (`file_name`, or a hub's). `columns`
    and `tags` map our names to the file's; what is not in them is not there. `rows` are the first
    of the set with their numbers from 1, `faults` those that can't even be parsed.
    """

    name: str
    path: Path | None
    source: Mapping[str, Any]
    rows_are: RowsAre = "alpaca"
    judged: Judged = "one answer"
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    num_samples: int | None = None
    facts: tuple[ColumnFacts, ...] = ()
    rows: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    faults: tuple[tuple[int, str], ...] = ()

    @property
    def formatting(self) -> Formatting:
        return "alpaca" if self.rows_are == "text" else self.rows_are

    @property
    def asked_columns(self) -> tuple[str, ...]:
        """Our names that mean something for such rows, in the order of a form."""
        if self.rows_are == "text":
            return ("prompt",)
        names: tuple[str, ...] = _ALPACA if self.rows_are == "alpaca" else _LISTS
        if self.judged == "better and worse":
            return (*names, "chosen", "rejected")
        if self.rows_are == "alpaca":
            names = (*names[:2], "response", *names[2:])
        return (*names, "kto_tag") if self.judged == "good or bad" else names

    @property
    def asked_tags(self) -> tuple[str, ...]:
        return TAG_NAMES if self.rows_are in ("sharegpt", "openai") else ()

    def entry(self, file_name: str | None = None) -> dict[str, Any]:
        """The registry entry. Everything that another tool would guess is spelled out."""
        entry: dict[str, Any] = dict(self.source)
        if file_name is not None:
            entry["file_name"] = file_name
        entry["formatting"] = self.formatting
        if self.judged == "better and worse" and self.rows_are != "text":
            entry["ranking"] = True
        if self.num_samples is not None:
            entry["num_samples"] = self.num_samples
        entry["columns"] = {k: self.columns[k] for k in self.asked_columns if k in self.columns}
        if self.asked_tags:
            entry["tags"] = {k: self.tags[k] for k in TAG_NAMES if k in self.tags}
        return entry

    def info(self) -> DatasetInfo:
        """The entry as the converters take it. Raises BadInput where it can't be one."""
        folder = self.path.absolute().parent if self.path is not None else Path()
        return read_entry(self.name or "new set", self.entry(), folder, True)

    def with_column(self, name: str, column: str | None) -> Draft:
        return replace(self, columns=_changed(self.columns, name, column))

    def with_tag(self, name: str, value: str | None) -> Draft:
        return replace(self, tags=_changed(self.tags, name, value))


def _changed(names: Mapping[str, str], name: str, value: str | None) -> dict[str, str]:
    kept = {key: one for key, one in names.items() if key != name}
    return kept if value is None else {**kept, name: value}
