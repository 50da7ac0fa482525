"""Rows of full length: texts joined and cut (pre-training), or whole conversations put together.

Texts close with the tokenizer's end token, so the model sees where one ends; within a packed row a
token sees all tokens before it, those of earlier texts included, as is usual in pre-training.
Conversations are never cut here, and `engine.training.collate` keeps them apart.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.datasets.encoded import Encoded
from engine.datasets.stage_rows import TokenRows
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig


def packs(config: RunConfig) -> bool:
    """Whether a run joins its texts and cuts them into rows of full length (pre-training)."""
    return config.stage == "pt" and config.packing is not False


def packs_whole(config: RunConfig) -> bool:
    """Whether a run puts whole conversations together into rows up to the cutoff (sft)."""
    return config.stage == "sft" and bool(config.packing or config.neat_packing)


def packed(
    config: RunConfig,
    train: TokenRows,
    held: TokenRows,
    eval_counts: dict[str, int],
    notes: list[str],
) -> tuple[TokenRows, TokenRows]:
    """The rows as the run's settings pack them, if they do; what that brings goes to `notes`.

    Texts to measure on are packed set by set, and `eval_counts` then count the packed rows;
    conversations to measure on stay as they are. Raises BadInput for rows with media.
    """
    rows, length = len(train), config.cutoff_len
    if packs(config):
        train = pack(train, length)
        if rows:
            notes.append(f"{rows:,} texts were packed into {len(train):,} rows.")
        whole, start = TokenRows(), 0
        for name, count in eval_counts.items():
            part = pack(held.chosen(range(start, start + count)), length)
            for row in part:
                whole.append(_encoded(row))
            eval_counts[name], start = len(part), start + count
        whole.cut_rows, whole.cut_tokens = held.cut_rows, held.cut_tokens
        return train, whole
    if packs_whole(config):
        if train.has_media:
            raise BadInput(
                Problem(
                    "Rows with pictures, videos or sounds can't be packed.",
                    "packing",
                    "Leave packing and neat_packing out, or choose a set of text.",
                    "packing",
                )
            )
        train = pack_whole(train, length, config.preprocessing_batch_size)
        if rows:
            notes.append(filling(train, length))
    return train, held


def pack(rows: TokenRows, length: int) -> TokenRows:
    """The same tokens in the same order, in rows of `length`; the last row may be shorter.

    Nothing is lost, added or moved: a text that does not fit is carried on in the next row. Which
    tokens are trained stays as it was. The counts of cut rows are taken over.
    """
    if length < 1:
        raise ValueError("a row needs at least one token")
    ids: list[int] = []
    trained: list[bool] = []
    packed_rows = TokenRows()
    for row in rows:
        ids += row["input_ids"]
        trained += [label >= 0 for label in row["labels"]]
        whole = len(ids) - len(ids) % length
        for start in range(0, whole, length):
            stop = start + length
            packed_rows.append(Encoded(ids[start:stop], trained[start:stop], 0, ""))
        del ids[:whole], trained[:whole]
    if ids:
        packed_rows.append(Encoded(ids, trained, 0, ""))
    packed_rows.cut_rows, packed_rows.cut_tokens = rows.cut_rows, rows.cut_tokens
    return packed_rows


class PackedRows(TokenRows):
    """Conversations put together. `rows[i]` holds, beside the tokens, `row_lengths`: those of each
    conversation in it, so that they can be told apart again."""

    def __init__(self) -> None:
        super().__init__()
        self._lengths: Any = array("i")
        self._groups: Any = array("Q")  # where each row's lengths end

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], facts: Mapping[str, Any]) -> PackedRows:
        rows = super().from_flat(flat, facts)
        assert isinstance(rows, PackedRows)
        rows._lengths, rows._groups = flat["lengths"], flat["groups"]
        return rows

    def flat(self) -> dict[str, Any]:
        return {**super().flat(), "lengths": self._lengths, "groups": self._groups}

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "form": "packed"}

    def put(self, rows: Sequence[Encoded]) -> None:
        """One row of these conversations."""
        ids = [token for row in rows for token in row.ids]
        self.append(Encoded(ids, [mark for row in rows for mark in row.trained], 0, ""))
        self._lengths.extend(len(row.ids) for row in rows)
        self._groups.append(len(self._lengths))

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = super().__getitem__(index)
        index %= len(self)
        start = self._groups[index - 1] if index else 0
        return {**row, "row_lengths": self._lengths[start : self._groups[index]].tolist()}

    @property
    def conversations(self) -> int:
        return len(self._lengths)


def pack_whole(rows: TokenRows, length: int, batch: int) -> PackedRows:
    """The same rows, several to one of up to `length` tokens; none is cut, lost or altered.

    Each batch of rows is packed by itself, the longest first, each into the fullest row that has
    room for it (best fit decreasing); rows that lie together stand in their old order.
    """
    if length < 1 or batch < 1:
        raise ValueError("a row needs at least one token")
    packed_rows = PackedRows()
    sizes = rows.lengths()
    for begin in range(0, len(rows), batch):
        numbers = range(begin, min(begin + batch, len(rows)))
        for group in best_fit(numbers, sizes, length):
            packed_rows.put([_encoded(rows[number]) for number in sorted(group)])
    packed_rows.cut_rows, packed_rows.cut_tokens = rows.cut_rows, rows.cut_tokens
    return packed_rows


def unpacked(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversations of a packed row, each as it was; another row by itself."""
    if "row_lengths" not in row:
        return [dict(row)]
    found, start = [], 0
    for length in row["row_lengths"]:
        ids, labels = (row[name][start : start + length] for name in ("input_ids", "labels"))
        found.append({"input_ids": ids, "labels": labels})
        start += length
    return found


def filling(rows: PackedRows, length: int) -> str:
    """How full the packed rows are, in words."""
    return (
        f"packing: {filled(rows.tokens, len(rows), length)} of {length:,} × {len(rows):,} "
        f"positions filled ({rows.conversations:,} conversations, kept apart)."
    )


def filled(tokens: int, rows: int, length: int) -> str:
    """The share of the positions of `rows` rows of `length` that hold a token, such as "97 %"."""
    places = rows * length
    return f"{tokens / places if places else 0.0:.0%}".replace("%", " %")


def best_fit(numbers: Sequence[int], sizes: Sequence[int], length: int) -> list[list[int]]:
    """The rows `numbers` in groups of at most `length` tokens together; `sizes` are theirs."""
    groups: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, group), sorted
    for number in sorted(numbers, key=lambda number: (-sizes[number], number)):
        place = bisect.bisect_left(room, (sizes[number], -1))
        if place == len(room):
            groups.append([number])
            left, group = length - sizes[number], len(groups) - 1
        else:
            left, group = room.pop(place)
            groups[group].append(number)
            left -= sizes[number]
        if left > 0:
            bisect.insort(room, (left, group))
    return sorted(groups, key=min)


def _encoded(row: Mapping[str, Any]) -> Encoded:
    return Encoded(row["input_ids"], [label >= 0 for label in row["labels"]], 0, "")
