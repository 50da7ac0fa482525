"""The numbers of an evaluation in words: their names, what they tell and what they can't see."""

from __future__ import annotations

from collections.abc import Iterable

from tui.language import _
from tui.language import marked as _m
from tui.widgets.frame import Line

# Name in the results: what people call it, and what it means.
_WORDS = {
    "loss": (
        _m("loss"),
        _m(
            "How surprised the model is by each token of the reference answers: 0 is not at all. "
            "It is not comparable between tokenizers, and a right answer in other words counts as "
            "wrong."
        ),
    ),
    "perplexity": (
        _m("perplexity"),
        _m(
            "e to the loss: between how many tokens the model wavers at each place. It is not "
            "comparable between tokenizers."
        ),
    ),
    "accuracy": (
        _m("accuracy"),
        _m(
            "The share, up to 1, of answer tokens that the model would have picked first (of a "
            "reward model: of pairs whose better answer it scores higher). Each token is asked for "
            "behind the right ones, so it can't see where the model's own text would lead."
        ),
    ),
    "bleu-4": (
        _m("BLEU-4"),
        _m(
            "The share of runs of one to four words that stand in the reference too, 0 to 100. It "
            "can't see meaning: a right answer in other words scores low, a wrong one that differs "
            "in one number scores high."
        ),
    ),
    "rouge-1": (
        _m("ROUGE-1"),
        _m("How many single words answer and reference share, 0 to 100; their order is not seen."),
    ),
    "rouge-2": (
        _m("ROUGE-2"),
        _m(
            "How many pairs of neighbouring words they share, 0 to 100; another wording of the "
            "same is not seen."
        ),
    ),
    "rouge-l": (
        _m("ROUGE-L"),
        _m(
            "How much of both is one row of words in the same order, 0 to 100; a single word that "
            "turns the meaning round, such as not, hardly changes it."
        ),
    ),
    "exact_match": (
        _m("exact match"),
        _m(
            "The percentage of answers equal to the reference but for blanks. It suits numbers and "
            "labels; one full stop more makes a right answer count as wrong."
        ),
    ),
    "margin": (
        _m("margin"),
        _m("How far the better answer's reward lies above the worse one's, on average."),
    ),
    "mean_reward": (
        _m("mean reward"),
        _m(
            "The mean score of all answers. Only differences between answers count: its level says "
            "nothing."
        ),
    ),
    "samples": (_m("rows"), ""),
    "rows": (_m("rows"), ""),
    "tokens": (_m("tokens"), ""),
    "runtime": (_m("time"), ""),
    "samples_per_second": (_m("rows a second"), ""),
    "tokens_per_second": (_m("tokens a second"), ""),
}


def called(name: str) -> str:
    """What a number of the results is called: `eval_loss` is loss; of several sets, each has its
    name before it: `eval_identity_loss` is identity loss."""
    bare = name.removeprefix("eval_").removeprefix("predict_")
    known = _known(bare)
    if known is None:
        return bare.replace("_", " ")
    return f"{bare.removesuffix(known).removesuffix('_')} {_(_WORDS[known][0])}".lstrip()


def score_help(names: Iterable[str]) -> list[Line]:
    """What those numbers mean, each once; nothing of those that explain themselves."""
    bare = [_known(name.removeprefix("eval_").removeprefix("predict_")) for name in names]
    lines: list[Line] = []
    for known in dict.fromkeys(name for name in bare if name is not None):
        label, words = _WORDS[known]
        if words:
            lines += [[(_(label), "accent bold")], [(_(words), "text")], []]
    return lines


def _known(bare: str) -> str | None:
    ends = (name for name in _WORDS if bare == name or bare.endswith("_" + name))
    return max(ends, key=len, default=None)
