"""What a stage is given to build its trainer from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.training.optimisers.plan import Plan

if TYPE_CHECKING:
    import datasets

    from engine.config import RunConfig
    from engine.datasets import Encoder
    from engine.datasets.streaming import StreamedRows
    from engine.models.locate import ModelFolder
    from engine.models.precision import Precision
    from engine.models.processor import Media
    from engine.runs.session import JobSession
    from engine.training.checkpoints_write import CheckpointWriter
    from engine.training.dataset import Strategy
    from engine.training.resume import Resume
    from engine.training.stop import Gate


@dataclass(frozen=True)
class Parts:
    """A run's loaded parts, the same for every stage.

    `model` has the method applied (a PeftModel for LoRA), `tokenizer` the run's template. `train`
    and `evaluation` (None without validation rows) hold rows in the stage's form and a column
    `length`. `checkpointing` tells whether activations are computed again in the backward pass.
    `resume` is the checkpoint that the run goes on from. `callbacks` are to be handed on.
    `media` reads the media of a model that takes some. `eval_sets` are the parts of
    `evaluation` by their set's name, where each is to be measured by itself; `stream` the rows
    behind `train` where they are encoded while the run trains (they have no column `length`).
    """

    config: RunConfig
    model: Any
    tokenizer: Any
    train: datasets.Dataset
    evaluation: datasets.Dataset | None
    precision: Precision
    device: str
    folder: Path
    checkpointing: bool
    gate: Gate
    writer: CheckpointWriter
    resume: Resume | None
    callbacks: list[Any]
    session: JobSession
    encoder: Encoder
    model_folder: ModelFolder
    media: Media | None = None
    eval_sets: Mapping[str, datasets.Dataset] = field(default_factory=dict)
    stream: StreamedRows | None = None

    def arguments(self, kind: type, **more: Any) -> Any:
        """The trainer's arguments of a class of TRL's or transformers', with `more` set."""
        from engine.training.arguments import training_arguments

        return training_arguments(
            kind,
            self.config,
            self.folder,
            self.precision,
            self.device,
            self.checkpointing,
            **more,
        )

    def run_options(self) -> dict[str, Any]:
        """The keywords of `RunTrainer` and those that every trainer takes, arguments left out.

        Early stopping is among the callbacks where it is asked for.
        """
        return {
            "model": self.model,
            "train_dataset": self.train,
            "eval_dataset": self.evaluation,
            "processing_class": self.tokenizer,
            "callbacks": [*self.callbacks, *self._early_stopping()],
            "gate": self.gate,
            "writer": self.writer,
            "order": order_of(self.config),
            "autocast": "bf16" if self.precision.autocast == "bf16" else None,
            "resume": self.resume,
            "media": self.media,
            "eval_sets": self.eval_sets,
            "stream": self.stream,
            "plan": Plan(self.config, lambda text: self.session.say(text, "note")),
        }

    def say_dropout_is_off(self, why: str) -> None:
        """A note where the settings ask for a dropout that the stage switches off."""
        if self.config.lora_dropout and self.config.finetuning_type == "lora":
            self.session.say(f"lora_dropout: {why}, so dropout is off.", "note")

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        held = self.evaluation["length"] if self.evaluation is not None else []
        train = self.stream.lengths() if self.stream is not None else self.train["length"]
        return max([*train, *held])

    def _early_stopping(self) -> list[Any]:
        if not self.config.early_stopping_steps:
            return []
        from transformers import EarlyStoppingCallback

        early = EarlyStoppingCallback(early_stopping_patience=self.config.early_stopping_steps)
        if self.resume is not None:
            for name, value in self.resume.callback_attributes("EarlyStoppingCallback").items():
                setattr(early, name, value)
        return [early]


def order_of(config: RunConfig) -> Strategy:
    """The order of rows: `disable_shuffling` is the older name for sequential."""
    return "sequential" if config.disable_shuffling else config.train_sampling_strategy
