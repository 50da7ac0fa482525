"""What an answer is worth to a run: a reward model's score, reward functions, or both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from engine.problem import BadInput, Problem
from engine.training.rewards import Answers, Reward, reward_functions
from engine.training.rewards.functions import MODEL_REWARD, NEEDS_REFERENCE, read_weights

if TYPE_CHECKING:
    from engine.training.parts import Parts
    from engine.training.rewards.model import RewardModel


# Rows of a stream that are looked at for right answers.
STREAMED_LOOK = 256


@dataclass(frozen=True)
class Scores:
    """`total` (answers,) in fp32; `each` holds, answer by answer, what every source gave by name
    (before its weight; NaN where it does not apply)."""

    total: torch.Tensor
    each: list[dict[str, float]]


@dataclass(frozen=True)
class Scoring:
    """The sources of a run's reward: their weighted sum is an answer's score."""

    tokenizer: Any
    end_ids: tuple[int, ...]
    functions: tuple[Reward, ...] = ()
    model: RewardModel | None = None
    model_weight: float = 1.0

    @classmethod
    def of(cls, parts: Parts, end_ids: tuple[int, ...]) -> Scoring:
        """The sources that the settings name. Raises BadInput for one that can't be used."""
        config = parts.config
        functions = tuple(reward_functions(config))
        model, weight = None, 1.0
        if config.reward_model:
            from engine.training.rewards.model import load_reward_model

            model = load_reward_model(parts)
            weight = read_weights(config.reward_weights, len(functions) + 1)[-1]
        return cls(parts.tokenizer, end_ids, functions, model, weight)

    @property
    def several(self) -> bool:
        """Whether there is more than one source."""
        return len(self.functions) + (self.model is not None) > 1

    def texts(self, answers: Sequence[Sequence[int]]) -> list[str]:
        """The answers as plain text, special tokens left out."""
        found: list[str] = self.tokenizer.batch_decode(
            [list(answer) for answer in answers], skip_special_tokens=True
        )
        return found

    def score(
        self,
        rows: Sequence[dict[str, Any]],
        answers: Sequence[Sequence[int]],
        check: Callable[[], object] = lambda: None,
    ) -> Scores:
        """The scores of one answer a row; rows hold `prompt_ids`, `prompt` and `answer`."""
        total = torch.zeros(len(rows))
        each: list[dict[str, float]] = [{} for _ in rows]
        given = Answers(
            prompts=[row["prompt"] for row in rows],
            texts=self.texts(answers),
            references=[row["answer"] for row in rows],
            tokens=[self._length(answer) for answer in answers],
        )
        for reward in self.functions:
            check()
            values = reward.score(given)
            for line, value in zip(each, values, strict=True):
                line[reward.name] = value
            # A function that does not apply to a row takes no part in its score.
            kept = [0.0 if math.isnan(value) else value for value in values]
            total += reward.weight * torch.tensor(kept)
        if self.model is not None:
            whole = [[*row["prompt_ids"], *a] for row, a in zip(rows, answers, strict=True)]
            values = self.model.score(whole, check)
            for line, value in zip(each, values.tolist(), strict=True):
                line[MODEL_REWARD] = value
            total += self.model_weight * values
        return Scores(total, each)

    def _length(self, answer: Sequence[int]) -> int:
        return len(answer) - (len(answer) > 0 and answer[-1] in self.end_ids)


def check_answers(parts: Parts, scoring: Scoring) -> None:
    """Functions that compare with a row's right answer need rows that have one.

    Rows without are told in a note. Raises BadInput where nothing could be rewarded.
    """
    comparing = [f.name for f in scoring.functions if f.name in NEEDS_REFERENCE]
    if not comparing:
        return
    # Of a stream, which is read as the run goes on, the first rows tell.
    first = range(min(len(parts.train), STREAMED_LOOK))
    answers = (
        parts.train["answer"]
        if parts.stream is None
        else [parts.stream[place]["answer"] for place in first]
    )
    total, lacking = len(answers), sum(not answer.strip() for answer in answers)
    if not lacking:
        return
    if lacking == total and len(comparing) == len(scoring.functions) and scoring.model is None:
        raise BadInput(
            Problem(
                f"{comparing[0]} compares with the right answer of a row, and no row has one.",
                where="dataset",
                hint="Take a set with answers, or a reward that needs none, such as length, regex "
                "or json_valid.",
                setting="reward_funcs",
            )
        )
    which = "rows" if parts.stream is None else "first rows"
    parts.session.say(
        f"{lacking} of {total} {which} have no right answer: {', '.join(comparing)} gives their "
        "answers no reward.",
        "note",
    )
