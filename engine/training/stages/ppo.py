"""PPO: the model learns from scores of its own answers, held near to where it started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.training.parts import Parts
    from engine.training.ppo.trainer import PpoTrainer


def build_trainer(parts: Parts) -> PpoTrainer:
    """A ready trainer over prompts (`prompt_ids`, `prompt`, `answer`).

    Policy, reference and value head share one base with LoRA. Raises BadInput for a reward that
    can't be used.
    """
    from peft import PeftModel
    from transformers import TrainingArguments

    from engine.training.ppo.trainer import PpoSettings, PpoTrainer
    from engine.training.ppo.value import give_head
    from engine.training.references import load_reference
    from engine.training.rewards.scoring import Scoring, check_answers
    from engine.training.sampling.rollout import Sampling

    config, model = parts.config, parts.model
    sampling = Sampling.of(parts)
    parts.say_dropout_is_off("an answer is learned from as it was sampled")
    _without_dropout(model)
    reference = load_reference(parts)
    scoring = Scoring.of(parts, sampling.end_ids)
    check_answers(parts, scoring)
    head = give_head(model, _start(parts))
    settings = PpoSettings(
        update=config.per_device_train_batch_size * config.gradient_accumulation_steps,
        epochs=config.ppo_epochs,
        kl_target=config.ppo_target,
        kl_coefficient=config.ppo_kl_coef,
        score_norm=config.ppo_score_norm,
        whiten_rewards=config.ppo_whiten_rewards,
        keep_undo=isinstance(model, PeftModel),
    )
    arguments = parts.arguments(
        TrainingArguments,
        gradient_accumulation_steps=config.gradient_accumulation_steps * config.ppo_buffer_size,
    )
    return PpoTrainer(
        args=arguments,
        data_collator=list,
        settings=settings,
        head=head,
        reference=reference,
        scoring=scoring,
        sampling=sampling,
        session=parts.session,
        **parts.run_options(),
    )


def _start(parts: Parts) -> Path:
    """Where a value head of an earlier run may lie: beside the adapter trained on, or the model."""
    from engine.models import adapter_folders

    given = adapter_folders(",".join(parts.config.adapters)) if parts.config.adapters else []
    return given[-1] if given else parts.model_folder.path


def _without_dropout(model: Any) -> None:
    """An answer must be as likely when it is learned from as it was when it was sampled, or the
    ratio of both measures the dropout (TRL's PPO switches it off, too)."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
