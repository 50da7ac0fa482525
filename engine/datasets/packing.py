"""Texts joined end to end and cut into rows of one length, for pre-training.

Each text closes with the tokenizer's end token, so the model sees where one ends. Within a row a
token sees all tokens before it, those of earlier texts included, as is usual in pre-training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.datasets.encoded import Encoded
from engine.datasets.stage_rows import TokenRows

if TYPE_CHECKING:
    from engine.config import RunConfig


def packs(config: RunConfig) -> bool:
    """Whether a run joins its texts and cuts them into rows of full length (pre-training)."""
    return config.stage == "pt" and config.packing is not False


def pack(rows: TokenRows, length: int) -> TokenRows:
    """The same tokens in the same order, in rows of `length`; the last row may be shorter.

    Nothing is lost, added or moved: a text that does not fit is carried on in the next row. Which
    tokens are trained stays as it was. The counts of cut rows are taken over.
    """
    if length < 1:
        raise ValueError("a row needs at least one token")
    ids: list[int] = []
    trained: list[bool] = []
    packed = TokenRows()
    for row in rows:
        ids += row["input_ids"]
        trained += [label >= 0 for label in row["labels"]]
        whole = len(ids) - len(ids) % length
        for start in range(0, whole, length):
            stop = start + length
            packed.append(Encoded(ids[start:stop], trained[start:stop], 0, ""))
        del ids[:whole], trained[:whole]
    if ids:
        packed.append(Encoded(ids, trained, 0, ""))
    packed.cut_rows, packed.cut_tokens = rows.cut_rows, rows.cut_tokens
    return packed
