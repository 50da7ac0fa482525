"""The value head: how much reward is still to come, read from the policy's own hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.models.value_head import read_value_head, write_value_head
from engine.problem import BadInput, Problem

# Under this name the head is a module of the policy, so that optimiser and clipping see it; the
# name, with `summary` inside, is also what its file calls it.
NAME = "v_head"
_SMALL = 0.01


class ValueHead(nn.Module):
    """One linear layer on the last hidden state (after the final norm), in fp32, no dropout.

    It starts small, so that the first advantages are those of the rewards alone.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.summary = nn.Linear(hidden, 1, dtype=torch.float32)
        nn.init.normal_(self.summary.weight, std=_SMALL)
        nn.init.zeros_(self.summary.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Values (n,) of states (n, hidden); the states' gradient flows into the policy."""
        with torch.autocast(states.device.type, enabled=False):
            values: torch.Tensor = self.summary(states.float()).squeeze(-1)
        return values

    def save(self, folder: Path) -> None:
        """Write `value_head.safetensors` into `folder`."""
        write_value_head(folder, self.summary.weight, self.summary.bias)

    def load(self, folder: Path) -> bool:
        """Take the head that lies in `folder`; False where there is none.

        Raises BadInput for a head of another width.
        """
        stored = read_value_head(folder)
        if stored is None:
            return False
        weight, bias = stored
        if weight.shape != self.summary.weight.shape:
            raise BadInput(
                Problem(
                    f"The value head is {weight.shape[1]} wide and the model "
                    f"{self.summary.weight.shape[1]}.",
                    where=str(folder),
                    hint="Take value_head.safetensors away, and a new head is trained.",
                )
            )
        with torch.no_grad():
            self.summary.weight.copy_(weight)
            self.summary.bias.copy_(bias)
        return True


def give_head(model: Any, start: Path | None = None) -> ValueHead:
    """Put a value head on `model` (a PeftModel, or one of transformers) and return it.

    It is the one in `start` where that folder holds one, otherwise new.
    """
    head = ValueHead(model.config.get_text_config().hidden_size)
    if start is not None:
        head.load(start)
    head.to(model.device)
    setattr(model, NAME, head)
    return head


@contextmanager
def without_head(model: Any) -> Iterator[None]:
    """Inside, `model` is as it came, for saving and loading: its weights' files have no head."""
    head = getattr(model, NAME)
    delattr(model, NAME)
    try:
        yield
    finally:
        setattr(model, NAME, head)
