"""BAdam (Luo et al., 2024): a part of the weights at a time (the package badam).

Its classes keep what a resume needs to themselves, print, and lose accumulated gradients where the
part changes; the two classes here make up for it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from badam import block_optim

from engine.models.optimiser_size import blocks
from engine.problem import BadInput, Problem
from engine.training.optimisers.groups import trained, with_decay

# The library's default for the ratio mode, which has no setting of its own.
_RATIO_INTERVAL = 100
_KEY = "badam"


def badam(
    config: Any,
    model: Any,
    decay_names: list[str],
    kind: type,
    options: dict[str, Any],
    say: Callable[[str], None],
) -> Any:
    """The optimiser for `use_badam`, on `kind` (what `optim` names) with its `options`.

    Raises BadInput for a model without blocks, or a first block that it does not have.
    """
    # It prints the order of blocks unasked; stdout is the screen's.
    block_optim.print_rank_0 = _print_nothing
    named = trained(model)
    groups = with_decay(named, decay_names, config.weight_decay)
    if config.badam_mode == "ratio":
        return RatioOptimizer(
            groups,
            named,
            update_ratio=config.badam_update_ratio,
            mask_mode=config.badam_mask_mode,
            switch_every=_RATIO_INTERVAL,
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            # Embeddings and the head stay as they are, where there are any of that name.
            include_embedding=not any("embed" in name for name, _ in named),
            include_lm_head=not any("lm_head" in name for name, _ in named),
            verbose=0,
        )
    starts = list(blocks(name for name, _ in named))
    first = config.badam_start_block
    if not starts or (first is not None and first >= len(starts)):
        what = f"has {len(starts)} blocks" if starts else "has no numbered blocks"
        raise BadInput(
            Problem(
                f"BAdam trains block after block, but the trained part of this model {what}.",
                hint=f"Set badam_start_block below {len(starts)}."
                if starts
                else "Set badam_mode: ratio.",
                setting="badam_start_block" if starts else "badam_mode",
            )
        )
    mode = config.badam_switch_mode or "ascending"
    if first is None and mode == "fixed":
        first = 0
    # The library overwrites its groups' decay by the optimiser's default.
    base = kind(groups, **{**options, "weight_decay": config.weight_decay})
    interval = config.badam_switch_interval
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights in fp32, all by name
        return BlockOptimizer(
            base,
            named,
            [[start] for start in starts],
            sys.maxsize if interval in (None, -1) else interval,
            first,
            mode,
            config.badam_verbose,
            say,
        )


class BlockOptimizer(block_optim.BlockOptimizer):
    """Block after block; what it is at, and the block's weights in fp32, are part of its state."""

    def __init__(
        self,
        base: torch.optim.Optimizer,
        named: list[Any],
        starts: list[list[str]],
        interval: int,
        first: int | None,
        mode: str,
        verbose: int,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._told = verbose
        self.active_block = 0
        super().__init__(
            base,
            named,
            block_prefix_list=starts,
            switch_block_every=interval,
            start_block=first,
            switch_mode=mode,
            verbose=0,
        )
        # Only a part of the state, and in the way of the method below.
        del self.__dict__["state_dict"]
        if mode == "random" and not hasattr(self, "block_order"):
            self.block_order: list[int] = []  # with a first block given, it is not drawn yet

    def switch_trainable_params(self, verbose: int | None = None) -> None:
        self.active_block = self.current_block_idx
        if not hasattr(self, "block_order") and self.switch_mode == "random":
            self.block_order = []
        super().switch_trainable_params(verbose=0)
        if self._told:
            start = self.block_prefix_list[self.active_block][0]
            self._say(f"BAdam trains block {self.active_block} of {self.block_num} ({start}).")
        if self._told > 1:
            names = [n for n, p in self.named_parameters_list if p.requires_grad]
            self._say(f"Its tensors: {', '.join(names)}.")

    def state_dict(self) -> dict[str, Any]:
        return {
            **self.base_optimizer.state_dict(),
            _KEY: {
                "active": self.active_block,
                "next": self.current_block_idx,
                "order": list(getattr(self, "block_order", [])),
                "steps": self.global_step,
                "weights": [p.detach().clone() for p in self.param_idx2hp.values()],
                "rates": [group["lr"] for group in self.param_groups],
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        kept = state_dict[_KEY]
        told, self._told = self._told, 0
        self.current_block_idx = kept["active"]
        self.switch_trainable_params()
        self._told = told
        self.base_optimizer.load_state_dict(
            {key: value for key, value in state_dict.items() if key != _KEY}
        )
        with torch.no_grad():
            for weight, value in zip(self.param_idx2hp.values(), kept["weights"], strict=True):
                weight.copy_(value)
        self.current_block_idx = kept["next"]
        if self.switch_mode == "random":
            self.block_order = list(kept["order"])
        self.global_step = kept["steps"]
        for group, rate in zip(self.param_groups, kept["rates"], strict=True):
            group["lr"] = rate


class RatioOptimizer(block_optim.BlockOptimizerRatio):
    """A share of each tensor; the place it is at is part of its state."""

    def sparse_update_hook(self) -> Callable[[torch.Tensor], None]:
        """Called for each tensor after its gradient was summed up, in every micro-batch."""

        def keep_the_share(parameter: torch.Tensor) -> None:
            gradient = parameter.grad
            assert gradient is not None
            # From the second micro-batch on the sum is of a sparse and a dense one.
            dense = gradient.to_dense() if gradient.is_sparse else gradient
            parameter.grad = dense.sparse_mask(self._mask_of(parameter))

        return keep_the_share

    def _mask_of(self, parameter: torch.Tensor) -> torch.Tensor:
        """The mask of the tensor's shape (those of one shape share it, as the library does)."""
        shape = parameter.shape
        if shape not in self.mask_dict:
            make = (
                self._generate_mask_scatter
                if self.mask_mode == "scatter"
                else self._generate_mask_adjacent
            )
            offset = self.sparse_dict[parameter]["offset"]
            self.mask_dict[shape] = make(parameter, self.update_ratio, offset).coalesce()
        mask: torch.Tensor = self.mask_dict[shape]
        return mask

    def _generate_mask_scatter(self, param: Any, ratio: float, offset: int) -> Any:
        # It seeds torch's own generator, which the run's dropout and order draw from.
        devices = [param.device] if param.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            return super()._generate_mask_scatter(param, ratio, offset)

    def _reset_state_dict(self) -> None:
        """The next share of each tensor, with Adam's memory empty."""
        super()._reset_state_dict()
        self.mask_dict.clear()
        for parameter in self._parameters():
            place = self.sparse_dict[parameter]
            numbers = parameter.numel()
            place["offset"] = (place["offset"] + int(numbers * self.update_ratio)) % numbers

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for _, parameter in self.named_parameters_list]

    @torch.no_grad()
    def clip_gradients(self, limit: float) -> torch.Tensor:
        """Shorten the sparse gradients together to `limit`; returns their norm before."""
        gradients = [p.grad for p in self._parameters() if p.grad is not None]
        values = [g._values() if g.is_sparse else g for g in gradients]
        if not values:
            return torch.zeros(())
        norm = torch.linalg.vector_norm(torch.stack([value.norm() for value in values]))
        share = torch.clamp(limit / (norm + 1e-6), max=1.0)
        for value in values:
            value.mul_(share)
        return norm

    def state_dict(self) -> dict[str, Any]:
        found = super().state_dict()
        found["state"] = {key: dict(value) for key, value in found["state"].items() if value}
        places = [self.sparse_dict[parameter] for parameter in self._parameters()]
        found[_KEY] = {
            "steps": self.global_step,
            "offsets": [place["offset"] for place in places],
            "seeds": [place["seed"] for place in places],
        }
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        kept = state_dict[_KEY]
        super().load_state_dict({k: v for k, v in state_dict.items() if k != _KEY})
        self.global_step = kept["steps"]
        self.mask_dict.clear()
        for number, parameter in enumerate(self._parameters()):
            self.sparse_dict[parameter]["offset"] = kept["offsets"][number]
            self.sparse_dict[parameter]["seed"] = kept["seeds"][number]


def _print_nothing(*_: Any, **__: Any) -> None:
    """Stands for the library's print."""
