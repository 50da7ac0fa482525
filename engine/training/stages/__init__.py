"""One module a stage: a RunConfig and prepared rows become a ready trainer."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from engine.training.parts import Parts


@dataclass(frozen=True)
class Stage:
    """How a stage is trained: its module here, and the head that its model has.

    `language` predicts tokens, `score` gives a sequence one number.
    """

    module: str
    head: Literal["language", "score"] = "language"


STAGES: dict[str, Stage] = {
    "pt": Stage("pt"),
    "sft": Stage("sft"),
    "rm": Stage("rm", head="score"),
    "ppo": Stage("ppo"),
    "dpo": Stage("dpo"),
    "kto": Stage("kto"),
    "grpo": Stage("grpo"),
    "rloo": Stage("rloo"),
    "distill": Stage("distill"),
}


def build_trainer(parts: Parts) -> Any:
    """The ready trainer of the run's stage (a `RunTrainer`)."""
    module = import_module(f"engine.training.stages.{STAGES[parts.config.stage].module}")
    return module.build_trainer(parts)
