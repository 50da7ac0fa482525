"""How sets are mixed, packed, kept as tokens, and measured on one by one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


def _several(config: Any) -> bool:
    return len(config.datasets) > 1 or config.mix_strategy != "concat"


def _by_shares(config: Any) -> bool:
    return config.mix_strategy != "concat" or bool(config.interleave_probs)


def _several_measured(config: Any) -> bool:
    return len(config.eval_datasets) > 1 or bool(config.eval_on_each_dataset)


def _of_answers(config: Any) -> bool:
    return config.stage == "sft" or bool(config.neat_packing)


@group
class FeedingGroup:
    """Mixing, packing, the cache of tokens, evaluation set by set."""

    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = (
        setting(
            "concat",
            label="Mixing of sets",
            section="Data",
            help="How several sets are joined: one behind the other; or in turn until the first "
            "runs out (under), until each has run out once (over), or each row once (once).",
            usual="concat",
            goes_with=("dataset", "interleave_probs", "max_samples"),
            applies=_several,
        )
    )
    interleave_probs: str | None = setting(
        None,
        label="Shares of the sets",
        section="Data",
        help="The chance of each set to give the next row, as a comma list in the order of the "
        "sets; empty takes them in turn.",
        usual="empty; 0.7,0.3",
        goes_with=("mix_strategy", "dataset"),
        applies=_by_shares,
    )
    eval_on_each_dataset: bool = setting(
        False,
        label="Measure each set",
        section="Data",
        help="Measures each evaluation set by itself: eval_<set>_loss stands in log and results.",
        usual="off; on where sets differ in kind",
        goes_with=("eval_dataset", "eval_strategy"),
        applies=_several_measured,
    )
    neat_packing: bool = setting(
        False,
        label="Neat packing",
        section="Data",
        help="Fills rows up to the cutoff with whole conversations that never see one another "
        "(packing does the same in sft).",
        usual="off",
        goes_with=("packing", "cutoff_len"),
        applies=_of_answers,
    )
    overwrite_cache: bool = setting(
        False,
        label="Tokenise anew",
        section="Data",
        help="Makes the tokens again instead of taking them from the cache, and keeps the new.",
        usual="off: the cache is never stale",
        goes_with=("tokenized_path",),
    )
    preprocessing_num_workers: int | None = setting(
        None,
        label="Tokenising processes",
        section="Data",
        level="hidden",
        help="Processes that turn rows into tokens, never more than there are cores; empty takes "
        "more than one for large sets only.",
        higher="faster on many cores; each holds a tokenizer in memory",
        lower="less memory",
        usual="empty",
        goes_with=("preprocessing_batch_size",),
        ge=1,
    )
    preprocessing_batch_size: int = setting(
        1000,
        label="Tokenising batch",
        section="Data",
        level="hidden",
        unit="rows",
        help="Rows that are turned into tokens at once; packing looks for rows that fit together "
        "among so many.",
        higher="fuller rows with packing, a little more memory",
        lower="less memory",
        usual="1000",
        goes_with=("packing", "preprocessing_num_workers"),
        ge=1,
    )
    tokenized_path: str | None = setting(
        None,
        label="Folder of tokens",
        section="Data",
        help="A folder to keep the run's tokens in: they are written there, or read from there "
        "where they are.",
        usual="empty: the user's cache",
        goes_with=("overwrite_cache",),
    )
    streaming: bool = setting(
        False,
        label="Streaming",
        section="Data",
        help="Turns rows into tokens while the run trains, instead of all before; a hub set is "
        "read as it comes, for sets larger than memory or disk. It needs max_steps.",
        usual="off; on from millions of rows",
        goes_with=("max_steps", "buffer_size"),
    )
    buffer_size: int = setting(
        16384,
        label="Shuffled at a time",
        section="Data",
        level="hidden",
        unit="rows",
        help="Rows that are shuffled among each other when streaming.",
        higher="rows that lie far apart in the file are mixed",
        lower="files are read more nearly in their order",
        usual="16384",
        goes_with=("streaming", "disable_shuffling"),
        applies=lambda config: bool(config.streaming),
        ge=1,
    )


def shares_are_of_sets(config: RunConfig) -> Problem | None:
    """Rule 6: shares are for interleaving, one a set."""
    if not config.interleave_probs:
        return None
    if config.mix_strategy == "concat":
        return Problem(
            "interleave_probs are shares of interleaved sets, but mix_strategy is concat.",
            hint="Set mix_strategy: interleave_under, or leave interleave_probs out.",
            setting="interleave_probs",
        )
    try:
        shares = [float(part) for part in config.interleave_probs.split(",")]
    except ValueError:
        shares = [math.nan]
    if not all(math.isfinite(share) and share >= 0 for share in shares) or not sum(shares):
        return Problem(
            f"interleave_probs {config.interleave_probs!r} are not shares.",
            hint="Write numbers from 0 on, such as 0.7,0.3.",
            setting="interleave_probs",
        )
    sets = len(config.datasets)
    if sets and len(shares) != sets:
        return Problem(
            f"interleave_probs has {len(shares)} shares, but dataset names {sets} sets.",
            hint="Give one share a set, in the same order.",
            setting="interleave_probs",
        )
    return None


def each_set_is_named(config: RunConfig) -> Problem | None:
    """Sets can be measured one by one where they are named."""
    if config.eval_on_each_dataset and config.do_train and not config.eval_datasets:
        return Problem(
            "eval_on_each_dataset measures the sets of eval_dataset one by one, and there is none.",
            hint="Name sets in eval_dataset, or switch it off.",
            setting="eval_on_each_dataset",
        )
    return None


def neat_packing_is_of_answers(config: RunConfig) -> Problem | None:
    """Rule 18, the half about packing; and packing that is off can't be neat."""
    if not config.neat_packing or not config.do_train:
        return None
    if config.stage != "sft":
        return Problem(
            f"neat_packing joins the conversations of stage sft, but the stage is {config.stage}.",
            hint="Switch it off, or set stage: sft.",
            setting="neat_packing",
        )
    if config.packing is False:
        return Problem(
            "neat_packing is on, but packing is off.",
            hint="Leave packing out, or switch neat_packing off.",
            setting="neat_packing",
        )
    return None


def streams_without_counting(config: RunConfig) -> Problem | None:
    """Rule 7: what needs all rows before the first step can't be streamed."""
    if not config.streaming or not config.do_train:
        return None
    if 0 < config.val_size < 1:
        return Problem(
            f"streaming holds out a number of rows, but val_size is {config.val_size:g}, a share.",
            hint="Set val_size to a whole number, such as 100.",
            setting="val_size",
        )
    if config.max_samples is not None:
        return Problem(
            "streaming reads on as long as the run lasts, so max_samples bounds nothing.",
            hint="Leave max_samples out; max_steps bounds the run.",
            setting="max_samples",
        )
    if config.max_steps <= 0:
        return Problem(
            "streaming needs to know how long the run is: max_steps is not set.",
            hint="Set max_steps, such as 1000.",
            setting="max_steps",
        )
    if config.tokenized_path:
        return Problem(
            "streaming keeps no tokens, so that there is nothing to write to tokenized_path.",
            hint="Leave one of them out.",
            setting="tokenized_path",
        )
    return None


def streams_without_lengths(config: RunConfig) -> Problem | None:
    """Rows come one by one, so they can't be grouped by a length that nobody knows yet."""
    if not config.streaming or not config.do_train:
        return None
    if config.train_sampling_strategy == "group_by_length":
        return Problem(
            "streaming doesn't know how long rows are before they come, so they can't be grouped "
            "by length.",
            hint="Leave train_sampling_strategy out.",
            setting="train_sampling_strategy",
        )
    return None


RULES = (
    ("7", streams_without_counting),
    ("o102", streams_without_lengths),
    ("6", shares_are_of_sets),
    ("18", neat_packing_is_of_answers),
    ("o101", each_set_is_named),
)
