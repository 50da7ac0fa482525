"""Reward functions by name, for `reward_funcs`: what grpo and rloo learn to make larger.

All that stands here is light: names and descriptions can be listed without torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from engine.problem import BadInput, JobFault, Problem
from engine.training.rewards.matching import final_answer, is_right

if TYPE_CHECKING:
    from engine.config import RunConfig

# What each function rewards, one sentence each, in the order a list shows them.
REWARD_FUNCTIONS: dict[str, str] = {
    "exact_match": "1 where the answer is the reference answer, capitals and outer space aside; "
    "where that is a number, the last number or \\boxed{} of the answer counts.",
    "contains": "1 where the reference answer occurs in the answer, capitals aside.",
    "regex": "1 where reward_pattern is found in the answer.",
    "length": "1 at reward_length tokens, falling evenly to 0 at no token and at twice as many.",
    "json_valid": "1 where the whole answer is one valid JSON value.",
}
# Those that compare with the reference answer of a row.
NEEDS_REFERENCE = frozenset({"exact_match", "contains"})
MODEL_REWARD = "reward_model"  # the name that a reward model's numbers are logged under
_PATTERN_SECONDS = 5.0


@dataclass(frozen=True)
class Answers:
    """Sampled answers that are to be rewarded, one entry each in every list.

    `prompts` and `texts` are plain text, `references` the answers of the data set ("" where there
    is none), `tokens` the number of tokens that each answer has.
    """

    prompts: Sequence[str]
    texts: Sequence[str]
    references: Sequence[str]
    tokens: Sequence[int]


@dataclass(frozen=True)
class Reward:
    """A source of rewards: `score` gives one number an answer, NaN where it does not apply.

    `weight` is what its numbers are multiplied by before they are summed with the others'.
    """

    name: str
    score: Callable[[Answers], list[float]]
    weight: float = 1.0


def reward_functions(config: RunConfig) -> list[Reward]:
    """The rewards of `reward_funcs` in order, with their `reward_weights`.

    Files are read and run here, and only those that `reward_funcs` names. Raises BadInput for a
    name that is none, a file that can't be used, and settings that a function lacks.
    """
    rewards: list[Reward] = []
    for asked in split_names(config.reward_funcs):
        reward = _reward(asked, config, {MODEL_REWARD, *(other.name for other in rewards)})
        if any(reward.name == other.name for other in rewards):
            _refuse(f"reward_funcs names {reward.name} twice.", "Name each function once.")
        rewards.append(reward)
    # A reward model comes after the functions, so its weight is the last one.
    models = 1 if config.reward_model else 0
    weights = read_weights(config.reward_weights, len(rewards) + models)
    return [
        Reward(reward.name, reward.score, weight)
        for reward, weight in zip(rewards, weights, strict=False)
    ]


def split_names(listed: str | None) -> list[str]:
    """The entries of a comma list, blanks dropped."""
    return [name for part in (listed or "").split(",") if (name := part.strip())]


def read_weights(listed: str | None, count: int) -> list[float]:
    """`reward_weights` as numbers, all 1 where it is empty. Raises BadInput for a wrong count."""
    parts = split_names(listed)
    if not parts:
        return [1.0] * count
    weights = []
    for part in parts:
        try:
            weight = float(part)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            _refuse(
                f"reward_weights holds {part}, which is not a number.",
                "Write numbers with commas between, such as 1, 0.5.",
                "reward_weights",
            )
        weights.append(weight)
    if len(weights) != count:
        _refuse(
            f"reward_weights has {len(weights)} numbers for {count} rewards.",
            "Give one for each entry of reward_funcs, then one for reward_model if it is set; "
            "empty means 1 for each.",
            "reward_weights",
        )
    return weights


def _reward(asked: str, config: RunConfig, taken: set[str]) -> Reward:
    if ".py" in asked:
        from engine.training.rewards.own_file import load_function

        own = load_function(asked)
        known = own.name in taken or own.name in REWARD_FUNCTIONS
        return Reward(f"{own.file.stem}.{own.name}" if known else own.name, own)
    if asked == "exact_match":
        return Reward(asked, _exact_match)
    if asked == "contains":
        return Reward(asked, _contains)
    if asked == "json_valid":
        return Reward(asked, _json_valid)
    if asked == "regex":
        return Reward(asked, _pattern_reward(config.reward_pattern))
    if asked == "length":
        return Reward(asked, _length_reward(config.reward_length))
    _refuse(
        f"There is no reward function named {asked}.",
        f"Known are {', '.join(REWARD_FUNCTIONS)}; one of your own is PATH.py:FUNCTION.",
    )


def _exact_match(answers: Answers) -> list[float]:
    pairs = zip(answers.texts, answers.references, strict=True)
    return [float(is_right(text, known)) if known.strip() else math.nan for text, known in pairs]


def _contains(answers: Answers) -> list[float]:
    return [
        float(known.strip().casefold() in final_answer(text).casefold())
        if known.strip()
        else math.nan
        for text, known in zip(answers.texts, answers.references, strict=True)
    ]


def _json_valid(answers: Answers) -> list[float]:
    return [float(_is_json(final_answer(text))) for text in answers.texts]


def _is_json(text: str) -> bool:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _length_reward(wanted: int) -> Callable[[Answers], list[float]]:
    if wanted < 1:
        _refuse(
            f"reward_length is {wanted}: answers of that length can't be rewarded.",
            "Set it to the wanted number of tokens, 1 or more.",
            "reward_length",
        )
    return lambda answers: [max(0.0, 1.0 - abs(n - wanted) / wanted) for n in answers.tokens]


def _pattern_reward(pattern: str | None) -> Callable[[Answers], list[float]]:
    # Not `re`: a pattern that backtracks for ever would hold the whole program.
    import regex

    if not pattern:
        _refuse(
            "The reward regex needs a pattern.",
            "Set reward_pattern, such as ^Answer: \\d+$.",
            "reward_pattern",
        )
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        _refuse(
            f"reward_pattern is no regular expression: {error}.",
            "Mend it; brackets and dots that stand for themselves need a \\ before them.",
            "reward_pattern",
        )

    def score(answers: Answers) -> list[float]:
        try:
            return [
                float(compiled.search(text, timeout=_PATTERN_SECONDS, concurrent=True) is not None)
                for text in answers.texts
            ]
        except TimeoutError:
            raise JobFault(
                Problem(
                    f"reward_pattern took more than {_PATTERN_SECONDS:.0f} seconds on one answer.",
                    where="reward_pattern",
                    hint="Patterns such as (a+)+ take for ever; write it without a repeat inside "
                    "a repeat.",
                    setting="reward_pattern",
                )
            ) from None

    return score


def _refuse(what: str, hint: str, setting: str = "reward_funcs") -> NoReturn:
    raise BadInput(Problem(what, where=setting, hint=hint, setting=setting))
