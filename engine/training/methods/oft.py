"""OFT: the inputs of each target turned by trained orthogonal blocks (Qiu et al., 2023).

peft 0.21 keeps the blocks as skew-symmetric matrices, which a Cayley transform turns into
rotations; it declares `module_dropout`, but no layer of it applies that any more, so finetui does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import OFTConfig
from peft.tuners.oft.layer import OFTRotationModule

from engine.config.method import WRITING_STAGES
from engine.models.score_head import has_score_head
from engine.training.methods.targets import target_modules, whole_modules

if TYPE_CHECKING:
    from engine.config import RunConfig

# These compare exact log-probabilities.
_WITHOUT_DROPOUT = ("dpo", "kto", *WRITING_STAGES)


def oft_config(model: Any, config: RunConfig) -> Any:
    """peft's description of the adapter: the number of blocks or their size, and the targets."""
    return OFTConfig(
        task_type="SEQ_CLS" if has_score_head(model) else "CAUSAL_LM",
        r=config.oft_rank,
        oft_block_size=0 if config.oft_rank else config.oft_block_size,
        module_dropout=config.module_dropout,
        target_modules=target_modules(model, "oft_target", config.oft_target),
        modules_to_save=whole_modules(model, config.additional_target),
    )


def drop_blocks(model: Any, config: RunConfig) -> None:
    """While `model` trains, leave each of its blocks unturned with the share `module_dropout`."""
    if not config.module_dropout or config.stage in _WITHOUT_DROPOUT:
        return
    for module in model.modules():
        if type(module) is OFTRotationModule:
            module.__class__ = DroppingRotation
            module.dropped_share = config.module_dropout


class DroppingRotation(OFTRotationModule):
    """A rotation some of whose blocks are the identity in training, drawn anew in each pass."""

    dropped_share: float

    def _cayley_batch(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        blocks: torch.Tensor = super()._cayley_batch(*args, **kwargs)
        if not self.training:
            return blocks
        drawn = torch.rand(blocks.shape[0], 1, 1, device=blocks.device)
        still = torch.eye(blocks.shape[-1], device=blocks.device, dtype=blocks.dtype)
        return torch.where(drawn < self.dropped_share, still, blocks)
