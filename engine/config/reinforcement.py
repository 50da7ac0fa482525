"""Learning from rewards: PPO, and groups of answers to one prompt (GRPO, RLOO)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from engine.config.declare import group, setting
from engine.config.method import writes_answers
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


def _ppo(config: Any) -> bool:
    return bool(config.stage == "ppo")


def _grouped(config: Any) -> bool:
    return config.stage in ("grpo", "rloo")


@group
class ReinforcementGroup:
    """PPO's buffer, epochs and KL control; the size of a group."""

    ppo_target: float = setting(
        6.0,
        label="Target KL",
        section="PPO",
        level="basic",
        help="The KL to the starting model, in nats an answer, that the adaptive coefficient "
        "steers to.",
        higher="the model may move further from its start for more reward",
        lower="answers stay closer to the starting model's",
        usual="1 … 6",
        goes_with=("ppo_kl_coef",),
        applies=_ppo,
        gt=0,
    )
    ppo_kl_coef: float = setting(
        0.2,
        label="KL coefficient at start",
        section="PPO",
        own=True,
        help="How much reward each unit of KL costs at the start; it then follows the target.",
        higher="holds the model back from the first step",
        lower="lets it move first",
        usual="0.05 … 0.2",
        goes_with=("ppo_target",),
        applies=_ppo,
        ge=0,
    )
    ppo_epochs: int = setting(
        4,
        label="Passes over the buffer",
        section="PPO",
        level="basic",
        help="How often each batch of written answers is learned from before new ones are written.",
        higher="more from each answer; may run past what the answers still tell",
        lower="steadier; more of the time goes into writing",
        usual="2 … 4",
        goes_with=("ppo_buffer_size",),
        applies=_ppo,
        ge=1,
    )
    ppo_buffer_size: int = setting(
        1,
        label="Buffer",
        section="PPO",
        level="basic",
        unit="batches",
        help="How many effective batches of answers are written before they are learned from.",
        higher="a smoother picture of the reward; fewer, later updates",
        lower="learns from the newest answers",
        usual="1 … 4",
        goes_with=("ppo_epochs", "gradient_accumulation_steps"),
        applies=_ppo,
        ge=1,
    )
    ppo_score_norm: bool = setting(
        False,
        label="Normalise scores",
        section="PPO",
        help="Brings the scores to a mean of zero and a spread of one, by all that were seen.",
        usual="on where scores are far from the range −3 … 3",
        goes_with=("ppo_whiten_rewards",),
        applies=_ppo,
    )
    ppo_whiten_rewards: bool = setting(
        False,
        label="Whiten rewards",
        section="PPO",
        help="Brings the rewards of each batch to a spread of one before advantages are computed.",
        usual="off",
        goes_with=("ppo_score_norm",),
        applies=_ppo,
    )
    num_generations: int = setting(
        8,
        label="Answers per prompt",
        section="Groups (GRPO, RLOO)",
        level="basic",
        own=True,
        help="How many answers are written to each prompt and compared with each other; the "
        "effective batch must be a multiple of it.",
        higher="a surer comparison; fewer prompts an update",
        lower="more prompts an update, noisier comparison; at least 2",
        usual="4 … 16",
        goes_with=("gradient_accumulation_steps", "per_device_train_batch_size"),
        applies=_grouped,
        # One answer alone has nothing to be compared with.
        ge=2,
    )
    kl_beta: float | None = setting(
        None,
        label="KL weight",
        section="Groups (GRPO, RLOO)",
        level="basic",
        own=True,
        help="How much each unit of KL to the starting model costs; empty is 0 in grpo, 0.05 in "
        "rloo.",
        higher="answers stay closer to the starting model's",
        lower="free to move; 0 needs no reference pass",
        usual="0 … 0.05",
        goes_with=("num_generations", "learning_rate"),
        applies=_grouped,
        ge=0,
    )


def batch_holds_whole_groups(config: RunConfig) -> Problem | None:
    """The trainer refuses an update that would tear a prompt's answers apart (TRL 1.16)."""
    if not config.do_train or not _grouped(config):
        return None
    group_size, batch = config.num_generations, config.effective_batch
    if batch % group_size == 0:
        return None
    step = group_size // math.gcd(config.per_device_train_batch_size, group_size)
    accumulation = math.ceil(config.gradient_accumulation_steps / step) * step
    return Problem(
        f"The effective batch of {batch} answers can't be shared out among groups of "
        f"{group_size} (num_generations).",
        hint=f"Set gradient_accumulation_steps: {accumulation}, for an effective batch of "
        f"{accumulation * config.per_device_train_batch_size}.",
        setting="num_generations",
    )


def answers_are_sampled(config: RunConfig) -> Problem | None:
    """These stages always sample, whatever do_sample says: the likeliest answer, written again
    and again, has nothing to be compared with."""
    if config.do_train and writes_answers(config) and config.temperature == 0:
        return Problem(
            f"{config.stage} learns from sampled answers, and temperature 0 can't be sampled with.",
            hint="Set temperature: 1.",
            setting="temperature",
        )
    return None


def answers_have_an_end(config: RunConfig) -> Problem | None:
    """A batch of answers is written up to one length."""
    if config.do_train and writes_answers(config) and config.max_new_tokens == 0:
        return Problem(
            f"{config.stage} needs to know how long an answer may get, but max_new_tokens is 0.",
            hint="Set max_new_tokens: 128.",
            setting="max_new_tokens",
        )
    return None


RULES = (
    ("o20", batch_holds_whole_groups),
    ("o21", answers_are_sampled),
    ("o22", answers_have_an_end),
)
