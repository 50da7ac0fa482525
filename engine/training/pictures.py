"""Micro-batches of rows with pictures: padded tokens, and the pixels read when they are needed.

A row carries the names of its pictures; they are opened, limited and cut by the model's processor
as the batch is made, so that a set of any size takes no memory. Rows are never laid end to end:
families attend to pictures both ways or count positions in two directions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.training.collate import Padded
from engine.training.pair_batches import OWN_KEYS, PaddedPairs

if TYPE_CHECKING:
    from engine.models.processor import Pictures

Row = dict[str, Any]


def names_of(row: Row) -> list[str]:
    """The pictures that a row names, in order."""
    found: list[str] = json.loads(row.get("pictures") or "[]")
    return found


@dataclass(frozen=True)
class PaddedPictures:
    """`Padded` with pixels: rows side by side, and all their pictures in order."""

    pad_id: int
    pictures: Pictures

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        batch = Padded(self.pad_id)(rows)
        return batch | self.pictures.inputs(batch["input_ids"], [names_of(row) for row in rows])


@dataclass(frozen=True)
class PaddedPicturePairs:
    """`PaddedPairs` with pixels: those of a prompt come once with each of its answers."""

    pad_id: int
    pictures: Pictures
    with_prompt: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        batch = PaddedPairs(self.pad_id, self.with_prompt)(rows)
        named = [names_of(row) for row in rows]
        found = self.pictures.inputs(batch["input_ids"], [*named, *named])
        assert not set(found) & set(OWN_KEYS)
        if self.with_prompt:
            _leave_pictures_out(batch, self.pictures.token_ids)
        return batch | found


def _leave_pictures_out(batch: dict[str, Any], tokens: Sequence[int]) -> None:
    """Where a loss learns the prompts too, it does not learn to write their pictures."""
    import torch

    keep = ~torch.isin(batch["targets"], torch.tensor(list(tokens)))
    keep[: batch["answer_tokens"]] = True
    batch["positions"], batch["targets"] = batch["positions"][keep], batch["targets"][keep]
