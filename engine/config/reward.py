"""Where the reward of ppo, grpo and rloo comes from: a reward model, or functions by name."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# The reward functions that are here by name (engine.training.rewards).
REWARD_FUNCTIONS = ("exact_match", "contains", "regex", "length", "json_valid")

# FILE.py or FILE.py:function.
_OWN_FUNCTION = re.compile(r".*[^/\\]\.py(:[^\W\d]\w*)?", re.DOTALL)
_ADDRESS = re.compile(r"https?://[^\s/]+\S*")


def _rewarded(config: Any) -> bool:
    return config.stage in WRITING_STAGES


def _by_model(config: Any) -> bool:
    return _rewarded(config) and bool(config.reward_model)


def _whole_model(config: Any) -> bool:
    return _by_model(config) and config.reward_model_type == "full"


def _functions(config: Any) -> tuple[str, ...]:
    return tuple(config.reward_functions) if _rewarded(config) else ()


def _several(config: Any) -> bool:
    return _sources(config) > 1 or (_rewarded(config) and bool(config.reward_weights))


def _sources(config: Any) -> int:
    return len(_functions(config)) + bool(_by_model(config))


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
        help="A number for each reward function, and one more for a reward model, as a comma list: "
        "the reward is their weighted sum; empty weighs all alike.",
        usual="empty",
        goes_with=("reward_funcs", "reward_model"),
        applies=_several,
    )


def ppo_has_a_reward(config: RunConfig) -> Problem | None:
    """Rule 10, the first half; a reward function does as well here."""
    if config.do_train and config.stage == "ppo" and not _has_reward(config):
        return Problem(
            "ppo learns from a reward, but none is given.",
            hint="Name the folder of a run of stage rm in reward_model, or a function in "
            "reward_funcs.",
            setting="reward_model",
        )
    return None


def group_has_a_reward(config: RunConfig) -> Problem | None:
    """Answers to one prompt can't be compared without a reward."""
    if config.do_train and config.stage in ("grpo", "rloo") and not _has_reward(config):
        return Problem(
            f"{config.stage} learns from a reward, but none is given.",
            hint="Name a function in reward_funcs, such as exact_match, or a reward_model.",
            setting="reward_funcs",
        )
    return None


def _has_reward(config: Any) -> bool:
    return bool((config.reward_model or "").strip() or config.reward_functions)


def reward_adapter_needs_lora(config: RunConfig) -> Problem | None:
    """Rule 10, the second half: an adapter is laid over the base that LoRA leaves as it is."""
    if (
        _by_model(config)
        and config.reward_model_type == "lora"
        and config.finetuning_type != "lora"
        and not _ADDRESS.fullmatch(config.reward_model or "")
    ):
        return Problem(
            "reward_model_type lora lays the reward's adapter over the trained model's own base, "
            f"but the method {config.finetuning_type} changes that base.",
            hint="Set finetuning_type: lora, or reward_model_type: full with a whole reward model.",
            setting="reward_model_type",
        )
    return None


def reward_service_has_an_address(config: RunConfig) -> Problem | None:
    """api goes with an http address, and an address with api."""
    if not _by_model(config):
        return None
    address = _ADDRESS.fullmatch((config.reward_model or "").strip()) is not None
    if config.reward_model_type == "api" and not address:
        return Problem(
            "reward_model_type api asks a service, but reward_model is no http address.",
            hint="Set reward_model to an address such as http://127.0.0.1:8000/score, or "
            "reward_model_type to lora or full for a folder.",
            setting="reward_model",
        )
    if config.reward_model_type != "api" and address:
        return Problem(
            f"reward_model is an http address, but reward_model_type is "
            f"{config.reward_model_type}.",
            hint="Set reward_model_type: api.",
            setting="reward_model_type",
        )
    return None


def reward_functions_are_known(config: RunConfig) -> Problem | None:
    """Each name is one of ours or a Python file; whether the file is there is seen later."""
    for name in _functions(config):
        if name not in REWARD_FUNCTIONS and not _OWN_FUNCTION.fullmatch(name):
            return Problem(
                f"There is no reward function {name}.",
                hint=f"Known are {', '.join(REWARD_FUNCTIONS)}; your own is named as "
                "FILE.py:function.",
                setting="reward_funcs",
            )
    return None


def reward_weights_fit(config: RunConfig) -> Problem | None:
    """A number for each function, then one for the reward model."""
    if not _rewarded(config) or not config.reward_weights:
        return None
    words = config.reward_weights.split(",")
    for word in words:
        if not _is_number(word):
            return Problem(
                f"reward_weights holds {word.strip() or 'an empty weight'}, which is no number.",
                hint="Write one number a reward, with commas between, such as 1,0.5.",
                setting="reward_weights",
            )
    sources = _sources(config)
    if len(words) != sources:
        return Problem(
            f"reward_weights holds {len(words)} numbers, but the rewards are {sources}.",
            hint="Write one for each entry of reward_funcs, then one for reward_model if it is "
            "set, or leave it empty.",
            setting="reward_weights",
        )
    return None


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def pattern_can_be_looked_for(config: RunConfig) -> Problem | None:
    """The function regex needs a pattern, and one that is a regular expression."""
    if not _by_pattern(config):
        return None
    if not config.reward_pattern:
        return Problem(
            "The reward function regex needs a pattern to look for.",
            hint=r"Set reward_pattern, such as Answer: \d+.",
            setting="reward_pattern",
        )
    # The library that looks for it (engine.training.rewards); it knows more than `re`.
    import regex

    try:
        regex.compile(config.reward_pattern)
    except regex.error as fault:
        return Problem(
            f"reward_pattern is no regular expression: {fault}.",
            hint=r"Mark signs that stand for themselves with a backslash, such as \( or \?.",
            setting="reward_pattern",
        )
    return None


RULES = (
    ("10", ppo_has_a_reward),
    ("o15", group_has_a_reward),
    ("10", reward_adapter_needs_lora),
    ("o16", reward_service_has_an_address),
    ("o17", reward_functions_are_known),
    ("o18", reward_weights_fit),
    ("o19", pattern_can_be_looked_for),
)
