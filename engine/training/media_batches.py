"""Micro-batches of rows with media: padded tokens, and pixels or sounds read when they are needed.

A row carries the names of its media; they are opened, limited and cut by the model's processor
as the batch is made, so that a set of any size takes no memory. Rows are never laid end to end:
families attend to pictures both ways or count positions in two directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.datasets.stage_rows import media_of
from engine.training.collate import Padded
from engine.training.pair_batches import OWN_KEYS, PaddedPairs

if TYPE_CHECKING:
    from engine.models.processor import Media

Row = dict[str, Any]


@dataclass(frozen=True)
class PaddedMedia:
    """`Padded` with pixels or sounds: rows side by side, and all their media in order."""

    pad_id: int
    media: Media

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        batch = Padded(self.pad_id)(rows)
        return batch | self.media.inputs(batch["input_ids"], [media_of(row) for row in rows])


@dataclass(frozen=True)
class PaddedMediaPairs:
    """`PaddedPairs` with pixels or sounds: those of a prompt come once with each of its answers."""

    pad_id: int
    media: Media
    with_prompt: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        batch = PaddedPairs(self.pad_id, self.with_prompt)(rows)
        named = [media_of(row) for row in rows]
        found = self.media.inputs(batch["input_ids"], [*named, *named])
        assert not set(found) & set(OWN_KEYS)
        if self.with_prompt:
            _leave_media_out(batch, self.media.token_ids)
        return batch | found


def _leave_media_out(batch: dict[str, Any], tokens: Sequence[int]) -> None:
    """Where a loss learns the prompts too, it does not learn to write their media."""
    import torch

    keep = ~torch.isin(batch["targets"], torch.tensor(list(tokens)))
    keep[: batch["answer_tokens"]] = True
    batch["positions"], batch["targets"] = batch["positions"][keep], batch["targets"][keep]
