"""GRPO: several answers to each prompt, each pushed by how its reward compares with the others'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.training.parts import Parts


def build_trainer(parts: Parts) -> Any:
    """A ready trainer over encoded prompts (`prompt_ids`, `prompt`, `answer`).

    Raises BadInput for rewards that can't be had and a reference model that can't be loaded.
    """
    from trl import GRPOConfig

    from engine.training.groups.build import build_group_trainer
    from engine.training.groups.trainer import GroupTrainer

    return build_group_trainer(parts, GroupTrainer, GRPOConfig, usual_beta=0.0)
