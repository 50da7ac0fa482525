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

    `help` explains it. `names` are the log's names for it: the first that a run logged is drawn.
    `other` are those of a second curve in the same picture; `curves` then names the two. `better`
    says which way is good. `of_loss` is a measure that follows from the loss where a run did not
    log it.
    """

    key: str
    label: str
    help: str = ""
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


LOSS = Measure(
    "loss",
    "loss",
    "What the stage makes small, mostly the cross-entropy of each trained token. Judge the trend "
    "by the smoothed curve and trouble by the points; it is not comparable between tokenizers.",
    ("loss",),
    "lower",
)
_PERPLEXITY = Measure(
    "perplexity",
    "perplexity",
    "e to the loss: between how many tokens the model wavers at each place. It is not comparable "
    "between tokenizers.",
    ("perplexity",),
    "lower",
    of_loss="perplexity",
)
_PAIR = ("chosen", "rejected")
_REWARDS = Measure(
    "rewards",
    "rewards",
    "How much likelier answers have become against the reference, times beta. Chosen should come "
    "to lie above rejected; where both fall far, the learning rate is too high or beta too low.",
    ("rewards/chosen",),
    other=("rewards/rejected",),
    curves=_PAIR,
)
_MARGIN = Measure(
    "margin",
    "margin",
    "How far the better answer's reward lies above the worse one's. Where it grows in training and "
    "not at the evaluations, the pairs are learned by heart.",
    ("rewards/margins", "margin"),
    "higher",
)
_ACCURACY = Measure(
    "accuracy",
    "accuracy",
    "The share of pairs whose better answer has the higher reward: 0.5 is chance, 1 is all.",
    ("rewards/accuracies", "accuracy"),
    "higher",
)
_LOGPS = Measure(
    "logps",
    "log-probs",
    "The log-probability of whole answers under the trained model; long answers have lower ones.",
    ("logps/chosen",),
    other=("logps/rejected",),
    curves=_PAIR,
)
_MEAN_REWARD = Measure(
    "mean_reward",
    "mean reward",
    "The mean score of all answers. Only differences between answers count: its level says "
    "nothing.",
    ("mean_reward",),
)
_REWARD = Measure(
    "reward",
    "reward",
    "The mean reward of the sampled answers. Read some of them: a high one may be won by a trick.",
    ("reward",),
    "higher",
)
_SPREAD = Measure(
    "reward_std",
    "reward spread",
    "How far the rewards lie apart. At 0 no answer is better than another: nothing is learned.",
    ("reward_std",),
)
_KL = Measure(
    "kl",
    "KL",
    "How far the model lies from the one it is compared with: from its own start, where a jump "
    "means that it runs away, or from its teacher, where it should fall.",
    ("kl",),
    "lower",
)
_ENTROPY = Measure(
    "entropy",
    "entropy",
    "How undecided the model is at each token. Falling fast towards 0, it says the same each time "
    "and tries nothing new.",
    ("entropy",),
)
_CLIPPED = Measure(
    "clipped",
    "clip share",
    "The share of tokens whose change was held back by the clipping range. Much above 0.2 the "
    "learning rate is too high.",
    ("clip_ratio/region_mean", "clip_share"),
    "lower",
)
_LENGTH = Measure(
    "length",
    "answer length",
    "The mean tokens of the sampled answers. Steady growth may be what the reward asks for, or a "
    "trick; at the limit answers are cut.",
    ("completions/mean_length", "response_length"),
)
_KL_WEIGHT = Measure(
    "kl_coef",
    "KL weight",
    "The adaptive coefficient: it grows while the KL is above its target and shrinks below it.",
    ("kl_coef",),
)
_POLICY_LOSS = Measure(
    "policy_loss",
    "policy loss",
    "PPO's clipped loss. It hovers about 0, and its size tells little.",
    ("policy_loss",),
)
_VALUE_LOSS = Measure(
    "value_loss",
    "value loss",
    "How badly the value head foresees the rewards.",
    ("value_loss",),
    "lower",
)

_BY_REWARD = (_REWARD, _SPREAD, _KL, _ENTROPY, _CLIPPED, _LENGTH)
STAGE_MEASURES: dict[str, tuple[Measure, ...]] = {
    "pt": (LOSS, _PERPLEXITY),
    "sft": (LOSS,),
    "rm": (LOSS, _ACCURACY, _MARGIN, _MEAN_REWARD),
    "dpo": (LOSS, _REWARDS, _MARGIN, _ACCURACY, _LOGPS),
    "kto": (LOSS, _REWARDS, _MARGIN, _KL, _LOGPS),
    "ppo": (*_BY_REWARD, _KL_WEIGHT, _POLICY_LOSS, _VALUE_LOSS, LOSS),
    "grpo": (*_BY_REWARD, LOSS),
    "rloo": (*_BY_REWARD, LOSS),
    "distill": (LOSS, _KL),
}
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
            found.append(Measure(name, label, names=(name,), better="higher"))
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
