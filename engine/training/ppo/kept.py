"""What a PPO run keeps beside its weights: from step to step, and to take a broken step back."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic
from engine.runs.trainer_log import read_trainer_log
from engine.training.ppo.math import Moments

FILE = "ppo_state.json"


@dataclass(frozen=True)
class Progress:
    """As of the last whole step: β of the KL penalty, and the moments of all scores.

    `dropped` tells of the step that a stop broke off: answers sampled, updates made.
    """

    kl_coefficient: float
    moments: Moments = field(default_factory=Moments)
    dropped: tuple[int, int] | None = None

    def save(self, folder: Path) -> None:
        """Write `ppo_state.json` into `folder`."""
        write_atomic(folder / FILE, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Progress:
        """What `save` wrote. Raises BadInput where it is missing or damaged."""
        file = folder / FILE
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            dropped = stored["dropped"]
            return cls(
                float(stored["kl_coefficient"]),
                Moments(**stored["moments"]),
                None if dropped is None else (int(dropped[0]), int(dropped[1])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                Problem(
                    "The checkpoint does not tell where its PPO run stood.",
                    where=str(file),
                    hint="Resume from another checkpoint of a ppo run.",
                    setting="resume_from_checkpoint",
                )
            ) from error

    def without_drop(self) -> Progress:
        return replace(self, dropped=None)


def repeated(step: int, dropped: tuple[int, int] | None, run: Path) -> str:
    """A sentence on what is done again after a resume from `step`: answers are not kept."""
    logged = max((p.step for p in read_trainer_log(run) if p.loss is not None), default=0)
    again = f"step {step + 1}" if logged <= step + 1 else f"steps {step + 1} to {logged}"
    if logged <= step and dropped is None:
        return f"Goes on with {again}; nothing is repeated."
    done = ""
    if dropped is not None:
        answers, updates = dropped
        done = f" The stop came after {answers} answers and {updates} updates of step {step + 1}."
    return (
        f"Repeats {again} from the beginning, with the random numbers of the first time: answers "
        f"are not kept.{done}"
    )


class Undo:
    """The trained weights and the optimiser as they are now, to put them back.

    Updates within a step move the weights, and only whole steps are saved. Costs the trained
    weights and their moments once more, so it is for adapters.
    """

    def __init__(self, model: Any, optimiser: Any) -> None:
        self._weights = [(p, p.detach().clone()) for p in model.parameters() if p.requires_grad]
        self._optimiser = optimiser
        self._state = copy.deepcopy(optimiser.state_dict())

    @torch.no_grad()
    def restore(self) -> None:
        for weight, value in self._weights:
            weight.copy_(value)
        self._optimiser.load_state_dict(self._state)
