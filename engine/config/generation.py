"""How answers are drawn in chat and prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES, writes_answers
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


def _samples(config: Any) -> bool:
    # Stages that learn from their own answers always sample them.
    return bool(config.do_sample) or writes_answers(config)


def _beams(config: Any) -> bool:
    return bool(config.num_beams > 1)


def _no_new_limit(config: Any) -> bool:
    return bool(config.max_new_tokens == 0)


@group
class GenerationGroup:
    """Sampling, beams, limits."""

    do_sample: bool = setting(
        True,
        label="Sample",
        section="Generation",
        help="Draws each token at random by its probability; off always takes the likeliest "
        "(greedy).",
        usual="on in chat, off to compare models",
        goes_with=("temperature", "top_p"),
    )
    temperature: float = setting(
        0.95,
        label="Temperature",
        section="Generation",
        help="Sharpens or flattens the probabilities before a token is drawn.",
        higher="more varied, more mistakes",
        lower="more predictable; towards 0 the same answer each time",
        usual="0.2 … 1",
        usual_for=dict.fromkeys(WRITING_STAGES, "0.7 … 1"),
        goes_with=("top_p", "do_sample"),
        applies=_samples,
        ge=0,
    )
    top_p: float = setting(
        0.7,
        label="Top-p",
        section="Generation",
        help="Draws only among the likeliest tokens that together reach this probability.",
        higher="rarer words are let in; 1 lets in all",
        lower="safer, more uniform answers",
        usual="0.7 … 0.95",
        usual_for=dict.fromkeys(WRITING_STAGES, "1"),
        goes_with=("temperature", "top_k"),
        applies=_samples,
        gt=0,
        le=1,
    )
    top_k: int = setting(
        50,
        label="Top-k",
        section="Generation",
        help="Draws only among the k likeliest tokens; 0 sets no limit.",
        higher="more varied",
        lower="safer; 1 is greedy",
        usual="20 … 50",
        usual_for=dict.fromkeys(WRITING_STAGES, "0"),
        goes_with=("top_p",),
        applies=_samples,
        ge=0,
    )
    max_new_tokens: int = setting(
        1024,
        label="Longest answer",
        section="Generation",
        unit="tokens",
        help="An answer ends at this many tokens at the latest; 0 leaves it to the total length.",
        higher="long answers end by themselves; a model that never stops takes longer",
        lower="short waits; long answers are cut",
        usual="256 … 1024",
        usual_for=dict.fromkeys(WRITING_STAGES, "32 … 512"),
        goes_with=("max_length",),
        ge=0,
    )
    max_length: int = setting(
        1024,
        label="Total length",
        section="Generation",
        unit="tokens",
        help="The most tokens of prompt and answer together, where the longest answer is 0.",
        usual="1024",
        goes_with=("max_new_tokens",),
        applies=_no_new_limit,
        ge=1,
    )
    repetition_penalty: float = setting(
        1.0,
        label="Repetition penalty",
        section="Generation",
        help="Makes tokens that were already written less likely.",
        higher="fewer repeats; above 1.2 answers turn odd",
        lower="1 changes nothing; below 1 repeats are favoured",
        usual="1 … 1.1",
        gt=0,
    )
    num_beams: int = setting(
        1,
        label="Beams",
        section="Generation",
        help="Follows this many answers side by side and keeps the likeliest one.",
        higher="likelier answers, slower by that factor",
        lower="1 follows a single answer",
        usual="1",
        goes_with=("length_penalty",),
        ge=1,
    )
    length_penalty: float = setting(
        1.0,
        label="Length penalty",
        section="Generation",
        help="With beams: above 0 favours longer answers, below 0 shorter ones.",
        higher="longer answers",
        lower="shorter answers",
        usual="1.0",
        goes_with=("num_beams",),
        applies=_beams,
    )
    skip_special_tokens: bool = setting(
        True,
        label="Hide special tokens",
        section="Generation",
        help="Leaves tokens such as the end-of-turn mark out of the answer's text.",
        usual="on",
    )
    use_kv_cache: bool = setting(
        True,
        label="Key-value cache",
        section="Generation",
        help="Remembers the keys and values of earlier tokens instead of computing them again.",
        usual="on",
    )


def sampling_needs_heat(config: RunConfig) -> Problem | None:
    """transformers refuses temperature 0 while sampling."""
    if config.do_sample and config.temperature == 0:
        return Problem(
            "temperature 0 can't be sampled with: it means the likeliest token always.",
            hint="Set do_sample: false for greedy answers, or a temperature above 0.",
            setting="temperature",
        )
    return None


RULES = (("o13", sampling_needs_heat),)
