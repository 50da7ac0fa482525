"""Answers read by a model: the log-probability of each token, its value, the entropy there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from engine.models.head import forward_at
from engine.training.ppo.value import ValueHead

# Positions whose whole distribution is held at once for the entropy.
_AT_ONCE = 256


@dataclass(frozen=True)
class Laid:
    """Prompts with their answers side by side, padded on the right.

    `inputs` are the model's. `places` (n,) are the flattened positions that predict the answers'
    tokens `targets` (n,), answer after answer. `mask` (answers, longest answer) is true at real
    tokens.
    """

    inputs: dict[str, torch.Tensor]
    places: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Values (n,) as a matrix (answers, longest answer), 0 behind the answers."""
        empty = values.new_zeros(self.mask.shape)
        return empty.masked_scatter(self.mask, values)


def lay_out(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    pad_id: int,
    device: torch.device | str,
) -> Laid:
    """A batch for the model. Every prompt has a token, or nothing would predict its answer."""
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    width, longest = max(lengths), max(len(a) for a in answers)
    ids = torch.full((len(lengths), width), pad_id)
    attention = torch.zeros_like(ids)
    mask = torch.zeros(len(lengths), longest, dtype=torch.bool)
    places: list[int] = []
    targets: list[int] = []
    for line, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[line, : lengths[line]] = torch.tensor([*prompt, *answer])
        attention[line, : lengths[line]] = 1
        mask[line, : len(answer)] = True
        first = line * width + len(prompt) - 1
        places += range(first, first + len(answer))
        targets += answer
    return Laid(
        {"input_ids": ids.to(device), "attention_mask": attention.to(device)},
        torch.tensor(places, device=device),
        torch.tensor(targets, device=device),
        mask.to(device),
    )


@dataclass(frozen=True)
class Reading:
    """What a model makes of a batch, each (answers, longest answer) in fp32.

    `values` belong to the state before each token. `entropy` is in nats.
    """

    logprobs: torch.Tensor
    values: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


def read(
    model: Any,
    laid: Laid,
    temperature: float,
    head: ValueHead | None = None,
    entropy: bool = False,
) -> Reading:
    """Read `laid`; values with a `head` only. Autocast and gradients are the caller's.

    The distribution is the one that answers are drawn from, so at `temperature`; that top-p and
    top-k leave out its tail is not counted, as the trained model could not learn under it.
    """
    states: list[torch.Tensor] = []

    def keep(_: Any, args: tuple[torch.Tensor, ...]) -> None:
        hidden = args[0]
        states.append(hidden.reshape(-1, hidden.shape[-1]).index_select(0, laid.places))

    hook = None
    if head is not None:
        # It comes before the one that `forward_at` sets, so it still sees every position.
        hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        logits = forward_at(model, laid.inputs, laid.places).logits.float() / temperature
    finally:
        if hook is not None:
            hook.remove()
    logprobs = -functional.cross_entropy(logits, laid.targets, reduction="none")
    return Reading(
        laid.spread(logprobs),
        None if head is None else laid.spread(head(states[0])),
        laid.spread(_entropy(logits)) if entropy else None,
    )


@torch.no_grad()
def _entropy(logits: torch.Tensor) -> torch.Tensor:
    found = []
    for part in logits.split(_AT_ONCE):
        logs = part.log_softmax(-1)
        found.append(-(logs.exp() * logs).sum(-1))
    return torch.cat(found) if found else logits.new_zeros(0)
