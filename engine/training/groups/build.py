"""From a run's parts to a trainer that learns from groups of answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem
from engine.runs.trainer_log import read_trainer_log

if TYPE_CHECKING:
    from engine.training.parts import Parts
    from engine.training.rewards.scoring import Scoring


def build_group_trainer(parts: Parts, trainer: Any, arguments: type, usual_beta: float) -> Any:
    """A ready `trainer` (a `GroupRunTrainer`) over encoded prompts, with arguments of a class.

    `usual_beta` is the KL weight where the settings have none. Raises BadInput for rewards that
    can't be had, a reference model that can't be loaded, and an adapter on the language head.
    """
    from engine.training.references import load_reference
    from engine.training.rewards.scoring import Scoring, check_answers
    from engine.training.sampling.rollout import Sampling

    config = parts.config
    beta = usual_beta if config.kl_beta is None else config.kl_beta
    _check_head(parts.model)
    sampling = Sampling.of(parts)
    scoring = Scoring.of(parts, sampling.end_ids)
    check_answers(parts, scoring)
    _say_what_is_special(parts)
    reference = load_reference(parts) if beta else None
    return trainer(
        **parts.run_options(),
        args=parts.arguments(
            arguments,
            **_best_by_reward(parts),
            # TRL would load a reference of its own for a weight that is not 0.
            beta=0.0,
            num_generations=config.num_generations,
            num_generations_eval=1,
            max_completion_length=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            reward_weights=_weights(scoring),
            # What is trained has to be what was sampled from, to the digit.
            disable_dropout=True,
        ),
        sampling=sampling,
        scoring=scoring,
        reference=reference,
        beta=beta,
        publish=parts.session.publish,
    )


def _weights(scoring: Scoring) -> list[float]:
    models = [scoring.model_weight] if scoring.model is not None else []
    return [reward.weight for reward in scoring.functions] + models


def _best_by_reward(parts: Parts) -> dict[str, Any]:
    """The best checkpoint is the one with the highest held-out reward, unless settings differ."""
    config = parts.config
    if config.eval_strategy == "no" or config.metric_for_best_model:
        return {}
    return {"metric_for_best_model": "reward", "greater_is_better": True}


def _check_head(model: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise BadInput(
            Problem(
                "An adapter on the language head (lm_head) can't be trained in this stage.",
                where="lora_target",
                hint="Take lm_head out of lora_target; to train the whole head, name it in "
                "additional_target.",
                setting="lora_target",
            )
        )


def _say_what_is_special(parts: Parts) -> None:
    config, session = parts.config, parts.session
    parts.say_dropout_is_off("what is trained has to be what was sampled from")
    context = getattr(parts.model.config.get_text_config(), "max_position_embeddings", None)
    longest = parts.longest + config.max_new_tokens
    if context is not None and longest > context:
        session.say(
            f"The longest prompt and its answer may take {longest} tokens, and the model attends "
            f"to {context}: lower cutoff_len or max_new_tokens.",
            "warning",
        )
    if parts.resume is not None:
        session.say(_repeated(parts.resume.step, parts.folder), "note")


def _repeated(step: int, run: Path) -> str:
    """What a resume after `step` does again: answers are not kept."""
    logged = max((p.step for p in read_trainer_log(run) if p.loss is not None), default=0)
    if logged > step:
        which = f"step {logged}" if logged == step + 1 else f"steps {step + 1} to {logged}"
        return f"Repeats {which}: the same answers are sampled again, as they are not kept."
    return (
        f"Goes on with step {step + 1}; answers that were sampled for it before the stop are "
        "sampled again, the same ones."
    )
