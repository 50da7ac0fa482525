"""Where the reward of ppo, grpo and rloo comes from: a reward model, or functions by name."""

from __future__ import annotations

from typing import Any, Literal

from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES

# The reward functions that are here by name (engine.training.rewards).
REWARD_FUNCTIONS = ("exact_match", "contains", "regex", "length", "json_valid")


def _rewarded(config: Any) -> bool:
    return config.stage in WRITING_STAGES


def _by_model(config: Any) -> bool:
    return _rewarded(config) and bool(config.reward_model)


def _whole_model(config: Any) -> bool:
    return _by_model(config) and config.reward_model_type == "full"


def _functions(config: Any) -> tuple[str, ...]:
    return tuple(config.reward_functions) if _rewarded(config) else ()


def _several(config: Any) -> bool:
    return len(_functions(config)) > 1 or (_rewarded(config) and bool(config.reward_weights))


def _by_pattern(config: Any) -> bool:
    return "regex" in _functions(config)


def _by_length(config: Any) -> bool:
    return "length" in _functions(config)


@group
class RewardGroup:
    """Reward model and reward functions."""

    reward_model: str | None = setting(
        None,
        label="Reward model",
        section="Reward",
        level="basic",
        help="The model that scores each answer: the folder of a run of stage rm, or the address "
        "of a service.",
        usual="the adapter of a run of stage rm on the same model",
        goes_with=("reward_model_type", "reward_funcs"),
        applies=_rewarded,
    )
    reward_model_type: Literal["lora", "full", "api"] = setting(
        "lora",
        label="Kind of reward model",
        section="Reward",
        level="basic",
        help="lora is an adapter on the trained model's own base, at no second copy; full is a "
        "whole model of its own; api is a service at an http address.",
        usual="lora",
        goes_with=("reward_model",),
        applies=_by_model,
    )
    reward_model_adapters: str | None = setting(
        None,
        label="Reward model adapters",
        section="Reward",
        help="Adapters that are merged into a whole reward model, as a comma list.",
        usual="empty",
        goes_with=("reward_model", "reward_model_type"),
        applies=_whole_model,
    )
    reward_funcs: str | None = setting(
        None,
        label="Reward functions",
        section="Reward",
        level="basic",
        own=True,
        help="Rules that score each answer, as a comma list: exact_match, contains, regex, "
        "length, json_valid, or FILE.py:function of your own, which is run.",
        usual="exact_match or contains for sets with a right answer",
        goes_with=("reward_weights", "reward_pattern", "reward_length"),
        applies=_rewarded,
    )
    reward_pattern: str | None = setting(
        None,
        label="Reward pattern",
        section="Reward",
        level="basic",
        own=True,
        help="The regular expression that the function regex looks for in an answer: 1 where it "
        "is found, else 0.",
        usual=r"such as Answer: \d+",
        goes_with=("reward_funcs",),
        applies=_by_pattern,
    )
    reward_length: int = setting(
        50,
        label="Wanted length",
        section="Reward",
        level="basic",
        own=True,
        unit="tokens",
        help="The length of an answer that the function length rewards most.",
        higher="longer answers",
        lower="shorter answers",
        usual="20 … 200, below the longest answer",
        goes_with=("reward_funcs", "max_new_tokens"),
        applies=_by_length,
        ge=1,
    )
    reward_weights: str | None = setting(
        None,
        label="Reward weights",
        section="Reward",
        own=True,
        help="A number for each reward function, as a comma list: the reward is their weighted "
        "sum; empty weighs all alike.",
        usual="empty",
        goes_with=("reward_funcs",),
        applies=_several,
    )
