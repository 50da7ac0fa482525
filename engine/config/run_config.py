"""One typed description of a run: every setting, once, flat on the outside."""

from __future__ import annotations

from typing import Any

from engine.config.computing import ComputingGroup
from engine.config.data import DataGroup
from engine.config.declare import described, setting
from engine.config.distillation import DistillationGroup
from engine.config.export import ExportGroup
from engine.config.feeding import FeedingGroup
from engine.config.generation import GenerationGroup
from engine.config.jobs import JobsGroup
from engine.config.losses import LossGroup
from engine.config.media import MediaGroup
from engine.config.method import MethodGroup
from engine.config.model import ModelGroup
from engine.config.optimiser import OptimiserGroup
from engine.config.optimiser_families import OptimiserFamilyGroup
from engine.config.preference import PreferenceGroup
from engine.config.quantisation import QuantisationGroup
from engine.config.reinforcement import ReinforcementGroup
from engine.config.reward import RewardGroup
from engine.config.saving import SavingGroup
from engine.config.thoughts import ThoughtGroup
from engine.config.trackers import TrackerGroup
from engine.config.training import TrainingGroup
from engine.config.variants import VariantGroup
from engine.config.vocabulary import VocabularyGroup


# Settings are gathered from the last base to the first: this is the form's order, backwards.
@described
class RunConfig(
    JobsGroup,
    ExportGroup,
    GenerationGroup,
    TrackerGroup,
    VocabularyGroup,
    MediaGroup,
    ThoughtGroup,
    FeedingGroup,
    DataGroup,
    LossGroup,
    OptimiserFamilyGroup,
    OptimiserGroup,
    SavingGroup,
    ComputingGroup,
    QuantisationGroup,
    DistillationGroup,
    ReinforcementGroup,
    RewardGroup,
    PreferenceGroup,
    TrainingGroup,
    VariantGroup,
    MethodGroup,
    ModelGroup,
):
    """A run: frozen, complete, with the defaults of published files.

    Build it with `read_file`, `read_flat`, `defaults_for_form` or `with_value`, which check each
    value and say what is wrong in words. Constructing it directly checks nothing.
    """

    trainer_extra: dict[str, Any] = setting(
        {},
        label="Passed on",
        section="Jobs",
        level="hidden",
        help="Hugging Face trainer keys that go to the trainer unchanged; in files they stand "
        "flat among the others.",
    )

    @property
    def passed_on(self) -> dict[str, Any]:
        """The keys for the trainer's own arguments (a copy)."""
        return dict(self.trainer_extra)

    @property
    def alpha(self) -> int:
        """LoRA's alpha as trained with: twice the rank where none is given."""
        return self.lora_alpha if self.lora_alpha is not None else 2 * self.lora_rank

    @property
    def warmup(self) -> float:
        """Warm-up as the trainer takes it: steps from 1 on, below 1 a share of all steps."""
        return float(self.warmup_steps) if self.warmup_steps > 0 else self.warmup_ratio

    @property
    def effective_batch(self) -> int:
        """Rows an update is made from, on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names in `dataset`."""
        return split_names(self.dataset)

    @property
    def eval_datasets(self) -> tuple[str, ...]:
        """The names in `eval_dataset`."""
        return split_names(self.eval_dataset)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The folders in `adapter_name_or_path`, each with `adapter_folder` behind it."""
        names = split_names(self.adapter_name_or_path)
        inner = (self.adapter_folder or "").strip("/ ")
        return tuple(f"{name.rstrip('/')}/{inner}" for name in names) if inner else names

    @property
    def reward_functions(self) -> tuple[str, ...]:
        """The names in `reward_funcs`."""
        return split_names(self.reward_funcs)


def split_names(text: str | None) -> tuple[str, ...]:
    """The items of a comma list, trimmed, without empty ones."""
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())
