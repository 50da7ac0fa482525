"""Rows -> one micro-batch. Two forms that can be swapped: `padded` and `end_to_end`.

Both give the same keys. `shift_labels` holds, for each token, the token it has to predict, or
-100 where nothing is trained (the shift is done here, row by row, so that no row predicts the
first token of the next). `labels` is the same tensor under the name that the trainer counts by.
`tokens` is the number of real tokens, padding excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.datasets.packing import unpacked

IGNORED = -100

Row = dict[str, Any]


@dataclass(frozen=True)
class Padded:
    """Rows side by side, filled up on the right with `pad_id`: what every model understands."""

    pad_id: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        shape = (len(rows), longest)
        ids = torch.full(shape, self.pad_id, dtype=torch.long)
        targets = torch.full(shape, IGNORED, dtype=torch.long)
        mask = torch.zeros(shape, dtype=torch.long)
        for line, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[line, :length] = torch.as_tensor(row["input_ids"])
            targets[line, : length - 1] = torch.as_tensor(row["labels"][1:])
            mask[line, :length] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": targets,
            "shift_labels": targets,
            "tokens": int(mask.sum()),
        }


@dataclass(frozen=True)
class EndToEnd:
    """Rows one after the other in a single sequence: no padding in any linear layer.

    With `by_rows` the batch carries the maps of `engine.training.attention`; leading tokens that
    all rows of the micro-batch share (a system prompt, as a rule) and that train nothing are then
    laid down once when `share_prefix` is set. Without it, transformers keeps rows apart by their
    `position_ids`, which needs `use_cache=False`.
    """

    by_rows: bool = True
    share_prefix: bool = True

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        sequences = [list(row["input_ids"]) for row in rows]
        targets = [[*row["labels"][1:], IGNORED] for row in rows]
        shared = _shared_prefix(sequences, targets) if self.by_rows and self.share_prefix else 0
        ids = sequences[0][:shared]
        positions = list(range(shared))
        flat_targets = [IGNORED] * shared
        starts = []
        for sequence, target in zip(sequences, targets, strict=True):
            starts.append(len(ids))
            ids += sequence[shared:]
            positions += range(shared, len(sequence))
            flat_targets += target[shared:]
        labels = torch.tensor([flat_targets])
        batch = {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "labels": labels,
            "shift_labels": labels,
            "tokens": sum(len(sequence) for sequence in sequences),
        }
        if self.by_rows:
            lengths = [len(sequence) for sequence in sequences]
            batch |= _row_maps(starts, lengths, shared, len(ids))
        return batch


@dataclass(frozen=True)
class Unpacked:
    """Packed rows told apart again before `form` lays them out: each attends to itself alone.

    So a micro-batch of n packed rows holds up to n times the cutoff in tokens, whatever the number
    of conversations in it.
    """

    form: Padded | EndToEnd

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        return self.form([part for row in rows for part in unpacked(row)])


def _shared_prefix(sequences: list[list[int]], targets: list[list[int]]) -> int:
    """How many leading tokens all rows share and nobody trains at."""
    if len(sequences) < 2:
        return 0
    # At least one token of each row stays its own.
    most = min(len(sequence) for sequence in sequences) - 1
    first = sequences[0]
    for place in range(most):
        token = first[place]
        if any(sequence[place] != token for sequence in sequences):
            return place
        if any(target[place] != IGNORED for target in targets):
            return place
    return max(most, 0)


def _row_maps(starts: list[int], lengths: list[int], shared: int, tokens: int) -> dict[str, Any]:
    """`rows_gather`, `rows_scatter` of `rows_attention`, and a mask that says "leave it to me"."""
    import torch

    longest = max(lengths)
    # Places right of a row's end hold token 0: causal attention never looks there.
    gather = torch.zeros((len(starts), longest), dtype=torch.long)
    scatter = torch.empty(tokens, dtype=torch.long)
    scatter[:shared] = torch.arange(shared)  # the shared tokens are read from the first line
    for line, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        own = length - shared
        gather[line, :shared] = torch.arange(shared)
        gather[line, shared:length] = torch.arange(start, start + own)
        scatter[start : start + own] = line * longest + torch.arange(shared, length)
    return {
        "rows_gather": gather,
        "rows_scatter": scatter,
        # Four dimensions: transformers hands such a mask on as it is, and builds none of its own.
        "attention_mask": torch.zeros((1, 1, 1, 1)),
    }
