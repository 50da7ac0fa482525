"""Rows with two answers -> one micro-batch; which log-probabilities are wanted, and from where.

Two forms that can be swapped, as in `engine.training.collate`. Both give the model's inputs, and:

- `lengths` (pairs, 2): tokens of the chosen and of the rejected answer that count;
- `answered` (2 * pairs, longest): True where an answer has a token, chosen answers first;
- `positions` (n,): the places, flattened, whose next token is wanted: those of the answers in the
  order of `answered`, then those of the chosen rows' prompts where `with_prompt` asks for them;
- `targets` (n,): those next tokens;
- `answer_tokens`: how many of them are of answers;
- `tokens`: the number of real tokens, a prompt counted for each of its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import RunConfig

Row = dict[str, Any]
# Keys of a batch that are not the model's.
OWN_KEYS = ("lengths", "answered", "positions", "targets", "answer_tokens", "tokens")


@dataclass(frozen=True)
class PaddedPairs:
    """Prompt and answer, all chosen ones first, filled up on the right: fits every model."""

    pad_id: int
    with_prompt: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        sequences = [[*row["prompt_ids"], *row["chosen_ids"]] for row in rows]
        sequences += [[*row["prompt_ids"], *row["rejected_ids"]] for row in rows]
        shape = (len(sequences), max(len(sequence) for sequence in sequences))
        ids = torch.full(shape, self.pad_id, dtype=torch.long)
        mask = torch.zeros(shape, dtype=torch.long)
        for line, sequence in enumerate(sequences):
            ids[line, : len(sequence)] = torch.tensor(sequence)
            mask[line, : len(sequence)] = 1
        places = [
            list(range(line * shape[1], line * shape[1] + len(sequence)))
            for line, sequence in enumerate(sequences)
        ]
        return {
            **_wanted(rows, places, self.with_prompt),
            "input_ids": ids,
            "attention_mask": mask,
        }


@dataclass(frozen=True)
class SharedPrompts:
    """Each prompt once with both its answers behind it, pair after pair, nothing padded.

    Both answers attend to the one prompt (`engine.training.attention`), which is computed once.
    """

    with_prompt: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        ids: list[int] = []
        positions: list[int] = []
        chosen: list[list[int]] = []
        rejected: list[list[int]] = []
        for row in rows:
            prompt = list(range(len(ids), len(ids) + len(row["prompt_ids"])))
            ids += row["prompt_ids"]
            positions += range(len(prompt))
            for name, places in (("chosen_ids", chosen), ("rejected_ids", rejected)):
                places.append([*prompt, *range(len(ids), len(ids) + len(row[name]))])
                ids += row[name]
                positions += range(len(prompt), len(prompt) + len(row[name]))
        places = chosen + rejected
        longest = max(len(place) for place in places)
        # Right of a row's end the block holds token 0: causal attention never looks there.
        gather = torch.zeros((len(places), longest), dtype=torch.long)
        scatter = torch.empty(len(ids), dtype=torch.long)
        for line, place in reversed(list(enumerate(places))):
            here = torch.tensor(place)
            gather[line, : len(place)] = here
            # A prompt's tokens are read from the line of its chosen answer, which is written last.
            scatter[here] = line * longest + torch.arange(len(place))
        return {
            **_wanted(rows, places, self.with_prompt),
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "rows_gather": gather,
            "rows_scatter": scatter,
            # Four dimensions: transformers hands such a mask on, and builds none of its own.
            "attention_mask": torch.zeros((1, 1, 1, 1)),
        }


PairForm = PaddedPairs | SharedPrompts


def choose_pair_form(
    models: Sequence[Any],
    config: RunConfig,
    device: str,
    longest: int,
    pad_id: int,
    with_prompt: bool = False,
) -> PairForm:
    """The collator that all `models` (policy, and reference where it is a model of its own) can
    run on, and the attention that goes with it set on them."""
    from engine.training import attention
    from engine.training.collate import EndToEnd
    from engine.training.forms import choose_form

    if all(attention.fits(model, longest) for model in models):
        forms = [choose_form(model, config, device, longest, pad_id) for model in models]
        if all(isinstance(form, EndToEnd) for form in forms):
            return SharedPrompts(with_prompt)
    return PaddedPairs(pad_id, with_prompt)


def _wanted(rows: Sequence[Row], places: list[list[int]], with_prompt: bool) -> dict[str, Any]:
    """The own keys of a batch. `places[line]` holds the flat place of each token of a sequence,
    chosen sequences first."""
    import torch

    positions: list[int] = []
    targets: list[int] = []
    counts: list[int] = []
    for name, start in (("chosen_ids", 0), ("rejected_ids", len(rows))):
        for line, row in enumerate(rows, start):
            # The very first token of a sequence is predicted by none.
            first = max(1, len(row["prompt_ids"]))
            positions += places[line][first - 1 : -1]
            targets += row[name][first - len(row["prompt_ids"]) :]
            counts.append(len(places[line]) - first)
    for line, row in enumerate(rows if with_prompt else ()):
        positions += places[line][: max(0, len(row["prompt_ids"]) - 1)]
        targets += row["prompt_ids"][1:]
    lengths = torch.tensor(counts).view(2, len(rows)).T.contiguous()
    answered = torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1)
    return {
        # First, as its first dimension is what transformers takes for the size of the batch.
        "lengths": lengths,
        "answered": answered,
        "positions": torch.tensor(positions, dtype=torch.long),
        "targets": torch.tensor(targets, dtype=torch.long),
        "answer_tokens": sum(counts),
        "tokens": sum(len(place) for place in places),
    }
