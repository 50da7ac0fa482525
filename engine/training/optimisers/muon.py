"""Muon (Jordan et al., 2024) for the matrices inside the model, AdamW for the rest.

Updates are scaled to AdamW's size (Liu et al., "Muon is Scalable for LLM Training", 2025), so that
one learning rate serves both.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.models.optimiser_size import trains_by_muon
from engine.training.optimisers.groups import plain_name, trained, with_decay

_MOMENTUM = 0.95


class MuonWithAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` and `torch.optim.AdamW` as one optimiser with one state.

    `matrices` and `rest` are groups; the first ones are Muon's.
    """

    def __init__(
        self,
        matrices: list[dict[str, Any]],
        rest: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        # torch's optimisers complete the groups in place with their own defaults.
        self._muon = (
            torch.optim.Muon(matrices, lr=lr, momentum=_MOMENTUM, adjust_lr_fn="match_rms_adamw")
            if matrices
            else None
        )
        self._adamw = torch.optim.AdamW(rest, lr=lr, betas=betas, eps=eps) if rest else None
        self._first = len(matrices)
        groups = [group for inner in self._parts() for group in inner.param_groups]
        super().__init__(groups, {"lr": lr})
        self._share()

    def _parts(self) -> list[torch.optim.Optimizer]:
        return [inner for inner in (self._muon, self._adamw) if inner is not None]

    def _share(self) -> None:
        """Both work on this optimiser's groups and state, so that a rate is set once and one
        state is saved."""
        if self._muon is not None:
            self._muon.param_groups = self.param_groups[: self._first]
            self._muon.state = self.state
        if self._adamw is not None:
            self._adamw.param_groups = self.param_groups[self._first :]
            self._adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for inner in self._parts():
            inner.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()


def muon(config: Any, model: Any, decay_names: list[str]) -> MuonWithAdamW:
    """The optimiser for `use_muon`."""
    named = trained(model)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    inside = [
        (name, p)
        for name, p in named
        if trains_by_muon(plain_name(name), tuple(p.shape)) and id(p) not in tables
    ]
    taken = {name for name, _ in inside}
    rest = [(name, p) for name, p in named if name not in taken]
    return MuonWithAdamW(
        with_decay(inside, decay_names, config.weight_decay),
        with_decay(rest, decay_names, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
    )
