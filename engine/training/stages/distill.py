"""Distillation: a student learns a teacher's output distribution, on data or its own samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.problem import BadInput, Problem
from engine.training.stages.sft import SFT_ARGUMENTS

if TYPE_CHECKING:
    from engine.training.distil.trainer import DistilTrainer
    from engine.training.parts import Parts
    from engine.training.sampling.rollout import Sampling


def build_trainer(parts: Parts) -> DistilTrainer:
    """A ready trainer over encoded rows (`input_ids`, `labels`), or over prompts where
    `distill_on` is samples (`prompt_ids`, `prompt`, `answer`).

    Raises BadInput for a teacher that can't be loaded or reads text differently.
    """
    from trl import SFTConfig

    from engine.training.distil.samples import Prompts, SampledTrainer
    from engine.training.distil.teacher import load_teacher
    from engine.training.distil.trainer import DistilTrainer
    from engine.training.second_model import choose_form_for_both

    config = parts.config
    teacher = load_teacher(parts)
    options = {
        "args": parts.arguments(SFTConfig, **SFT_ARGUMENTS),
        "teacher": teacher,
        "beta": config.distill_beta,
        "temperature": config.distill_temperature,
        "measure_accuracy": config.compute_accuracy,
        **parts.run_options(),
    }
    sampled = config.distill_on == "samples"
    longest = _longest_sampled(parts) if sampled else parts.longest
    pad = parts.tokenizer.pad_token_id or 0
    form = choose_form_for_both(parts.model, teacher.model, config, parts.device, longest, pad)
    if not sampled:
        return DistilTrainer(data_collator=form, **options)
    return SampledTrainer(
        data_collator=Prompts(pad),
        form=form,
        sampling_for=lambda longest: _sampling(parts, longest),
        publish=parts.session.publish,
        **options,
    )


def _longest_sampled(parts: Parts) -> int:
    """Tokens of the longest prompt with its answer. Raises BadInput where none has room."""
    config = parts.config
    if config.max_new_tokens:
        return parts.longest + config.max_new_tokens
    if parts.longest >= config.max_length and parts.stream is not None:
        raise BadInput(
            Problem(
                f"A streamed prompt may have cutoff_len {parts.longest:,} tokens, and max_length "
                f"{config.max_length:,} leaves no room for an answer.",
                where="max_length",
                hint="Set max_new_tokens, or lower cutoff_len.",
                setting="max_length",
            )
        )
    if parts.longest >= config.max_length:
        raise BadInput(
            Problem(
                f"The longest prompt has {parts.longest:,} tokens, and max_length "
                f"{config.max_length:,} leaves no room for an answer.",
                where="max_length",
                hint="Raise max_length, or set max_new_tokens.",
                setting="max_length",
            )
        )
    return config.max_length


def _sampling(parts: Parts, longest: int) -> Sampling:
    """How the student's answers to prompts of up to `longest` tokens are sampled."""
    from engine.training.sampling.rollout import Sampling

    config = parts.config
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        max_new_tokens=config.max_new_tokens or config.max_length - longest,
        end_ids=tuple(parts.encoder.eos_ids),
        pad_id=parts.tokenizer.pad_token_id or 0,
    )
