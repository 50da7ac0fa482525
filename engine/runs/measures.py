"""What the people of each stage watch: which logged numbers make a picture, and which way is good.

The names are those of the installed TRL and of our own PPO; a run's log holds whichever of them its
trainer measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from engine.runs.curves import Curves

Better = Literal["higher", "lower", "neither"]
# Steps that only rise, and a value for each; NaN is a gap.
Series = tuple[Sequence[float], Sequence[float]]
NOTHING: Series = ((), ())


@dataclass(frozen=True)
class Measure:
    """One picture of a run.

    `names` are the log's names for it: the first that a run logged is drawn. `other` are those of a
    second curve in the same picture; `curves` then names the two. `better` says which way is good.
    `of_loss` is a measure that follows from the loss where a run did not log it.
    """

    key: str
    label: str
    names: tuple[str, ...] = ()
    better: Better = "neither"
    other: tuple[str, ...] = ()
    curves: tuple[str, str] | None = None
    of_loss: Literal["", "perplexity"] = ""


@dataclass(frozen=True)
class Picture:
    """A measure with the points that a run has of it; `judged` are those of its evaluations."""

    measure: Measure
    points: Series
    other: Series = NOTHING
    judged: Series = NOTHING


LOSS = Measure("loss", "loss", ("loss",), "lower")
_PAIR = ("chosen", "rejected")
_REWARDS = Measure(
    "rewards", "rewards", ("rewards/chosen",), "neither", ("rewards/rejected",), _PAIR
)
_MARGIN = Measure("margin", "margin", ("rewards/margins", "margin"), "higher")
_ACCURACY = Measure("accuracy", "accuracy", ("rewards/accuracies", "accuracy"), "higher")
_LOGPS = Measure("logps", "log-probs", ("logps/chosen",), "neither", ("logps/rejected",), _PAIR)
_REWARD = Measure("reward", "reward", ("reward", "objective/scores"), "higher")
_SPREAD = Measure("reward_std", "reward spread", ("reward_std",))
_KL = Measure("kl", "KL", ("kl",), "lower")
_ENTROPY = Measure("entropy", "entropy", ("entropy",))
_CLIPPED = Measure("clipped", "clip share", ("clip_ratio/region_mean", "clip_share"), "lower")
_LENGTH = Measure("length", "answer length", ("completions/mean_length", "response_length"))

_BY_REWARD = (_REWARD, _SPREAD, _KL, _ENTROPY, _CLIPPED, _LENGTH)
STAGE_MEASURES: dict[str, tuple[Measure, ...]] = {
    "pt": (LOSS, Measure("perplexity", "perplexity", ("perplexity",), "lower", (), None,
                         "perplexity")),
    "sft": (LOSS,),
    "rm": (LOSS, _ACCURACY, _MARGIN, Measure("mean_reward", "mean reward", ("mean_reward",))),
    "dpo": (LOSS, _REWARDS, _MARGIN, _ACCURACY, _LOGPS),
    "kto": (LOSS, _REWARDS, _MARGIN, _KL, _LOGPS),
    "ppo": (
        *_BY_REWARD,
        Measure("kl_coef", "KL weight", ("kl_coef",)),
        Measure("policy_loss", "policy loss", ("policy_loss",)),
        Measure("value_loss", "value loss", ("value_loss",), "lower"),
        LOSS,
    ),
    "grpo": (*_BY_REWARD, LOSS),
    "rloo": (*_BY_REWARD, LOSS),
    "distill": (LOSS, _KL),
}  # fmt: skip
_OF_PAIRS = (_REWARDS, _MARGIN, _ACCURACY)


def measures(stage: str) -> tuple[Measure, ...]:
    """The measures of a stage, the one watched most first."""
    return STAGE_MEASURES.get(stage, (LOSS,))


def measure_of(name: str) -> Measure | None:
    """The measure that the log's `name` is drawn as, in whichever stage."""
    every = (one for found in STAGE_MEASURES.values() for one in found)
    return next((one for one in every if name in one.names and one.curves is None), None)


def pictures(
    stage: str, trained: Mapping[str, Series], judged: Mapping[str, Series]
) -> list[Picture]:
    """The measures of a stage that a run has points of, in the stage's order; always one at least.

    `trained` and `judged` hold what was logged while it trained and at its evaluations, by name,
    `loss` among them.
    """
    found = []
    for measure in (*measures(stage), *_each_reward(trained)):
        points = _first(trained, measure.names)
        checks = _first(judged, measure.names)
        if measure.of_loss and not points[0]:
            points = _perplexity(trained.get("loss", NOTHING))
        if measure.of_loss and not checks[0]:
            checks = _perplexity(judged.get("loss", NOTHING))
        if points[0] or checks[0]:
            found.append(Picture(measure, points, _first(trained, measure.other), checks))
    return found or [Picture(LOSS, NOTHING)]


def _each_reward(trained: Mapping[str, Series]) -> list[Measure]:
    """One for each reward function, where a run has several: `rewards/length` in PPO's log,
    `rewards/length/mean` in TRL's."""
    of_pairs = {name for one in _OF_PAIRS for name in (*one.names, *one.other)}
    found = []
    for name in trained:
        label = name.removeprefix("rewards/").removesuffix("/mean")
        if name.startswith("rewards/") and "/" not in label and name not in of_pairs:
            found.append(Measure(name, label, (name,), "higher"))
    return found if len(found) > 1 else []


def named_in(shown: Sequence[Picture]) -> set[str]:
    """The log's names of everything that the pictures draw."""
    return {name for one in shown for name in (*one.measure.names, *one.measure.other)}


def of_curves(curves: Curves) -> tuple[dict[str, Series], dict[str, Series]]:
    """A finished run's numbers by name: those of its steps, and those of its evaluations."""
    trained: dict[str, Series] = {"loss": (curves.steps, curves.losses)}
    judged: dict[str, Series] = {"loss": (curves.eval_steps, curves.eval_losses)}
    for name, points in curves.watched.items():
        series = ([step for step, _ in points], [value for _, value in points])
        if name.startswith("eval_"):
            judged[name.removeprefix("eval_")] = series
        else:
            trained[name] = series
    return trained, judged


def _first(logged: Mapping[str, Series], names: Sequence[str]) -> Series:
    return next((logged[name] for name in names if name in logged and logged[name][0]), NOTHING)


def _perplexity(losses: Series) -> Series:
    """e^loss; where that is beyond a number, a gap."""
    steps, values = losses
    return steps, [math.exp(value) if value < 700 else math.nan for value in values]
