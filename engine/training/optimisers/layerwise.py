"""Updates inside the backward pass: each tensor as soon as its gradient is there.

After Lv et al., "Full Parameter Fine-tuning for LLMs with Limited Resources" (LOMO, 2023) and the
layer-wise GaLore: only one tensor's gradient is held at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch


class LayerwiseOptimizer(torch.optim.Optimizer):
    """One optimiser for the trainer, schedulers and checkpoints; inside, one for each tensor.

    `groups` are those of the whole; `make` builds the optimiser of one tensor from a group that
    holds it alone. `refuse` is called with a gradient's norm that is not finite, before the tensor
    moves, and must raise. `step` does nothing: the work is done by hooks.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        refuse: Callable[[float], None],
    ) -> None:
        super().__init__(groups, {"lr": lr})
        self._refuse = refuse
        self._squares = 0.0
        self._inner: list[tuple[int, torch.optim.Optimizer]] = []
        for number, group in enumerate(self.param_groups):
            alone = {key: value for key, value in group.items() if key != "params"}
            for parameter in group["params"]:
                inner = make([{**alone, "params": [parameter]}])
                self._begin(inner, parameter, len(self._inner))
                self._inner.append((number, inner))
                parameter.register_post_accumulate_grad_hook(partial(self._update, number, inner))

    def _begin(self, inner: torch.optim.Optimizer, parameter: Any, number: int) -> None:
        """Let `inner` keep its state in ours."""
        first = dict(inner.state[parameter])
        if "seed" in first:
            first["seed"] = number + 1  # APOLLO numbers tensors; alone each would be the first
        if first:
            self.state[parameter].update(first)
        inner.state = self.state

    @torch.no_grad()
    def _update(self, number: int, inner: torch.optim.Optimizer, parameter: torch.Tensor) -> None:
        if parameter.grad is None:
            return
        norm = float(parameter.grad.norm())
        if not math.isfinite(norm):
            self._refuse(norm)
        self._squares += norm * norm
        inner.param_groups[0]["lr"] = self.param_groups[number]["lr"]
        inner.step()
        parameter.grad = None

    def step(self, closure: Any = None) -> None:
        """Nothing is left to do: the backward pass has moved the weights."""

    def clip_gradients(self, limit: float) -> torch.Tensor:
        """The norm of the gradient that the weights have moved by since the last call; it can no
        longer be shortened to `limit`."""
        norm = math.sqrt(self._squares)
        self._squares = 0.0
        return torch.tensor(norm)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for _, inner in self._inner:
            inner.state = self.state
