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


RULES = (
    ("6", shares_are_of_sets),
    ("18", neat_packing_is_of_answers),
    ("o101", each_set_is_named),
)
