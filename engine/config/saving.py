"""What is logged and kept, and when the run measures itself."""

from __future__ import annotations

from typing import Any, Literal

from engine.config.declare import group, setting


def _saves_by_steps(config: Any) -> bool:
    return bool(config.save_strategy == "steps")


def _saves(config: Any) -> bool:
    return bool(config.save_strategy != "no")


def _evaluates(config: Any) -> bool:
    return bool(config.eval_strategy != "no")


def _evaluates_by_steps(config: Any) -> bool:
    return bool(config.eval_strategy == "steps")


def _wants_best(config: Any) -> bool:
    return bool(config.load_best_model_at_end or config.save_strategy == "best")


def _may_checkpoint(config: Any) -> bool:
    return not config.disable_gradient_checkpointing


# The stages that predict each next token of given texts.
TOKEN_STAGES = ("pt", "sft", "distill")


def _counts_tokens(config: Any) -> bool:
    # One that is on stays in sight in other stages, as a rule asks for it to be taken away.
    if config.stage not in TOKEN_STAGES:
        return bool(config.compute_accuracy)
    return _evaluates(config)


@group
class SavingGroup:
    """Logging, checkpoints, evaluation during the run, the run's folder."""

    logging_steps: float = setting(
        500,
        label="Log every",
        section="Saving and logging",
        level="basic",
        unit="steps",
        help="A point of the loss curve every so many steps; below 1 it is a share of the run.",
        higher="fewer points, each the mean of more steps",
        lower="a finer curve; logging itself costs little",
        usual="1 … 10",
        gt=0,
    )
    save_strategy: Literal["no", "steps", "epoch", "best"] = setting(
        "steps",
        label="Save by",
        section="Saving and logging",
        level="basic",
        help="When a checkpoint is saved: every so many steps, after each epoch, at each new best "
        "validation loss, or only at the end (no).",
        usual="steps",
        goes_with=("save_steps", "save_total_limit"),
    )
    save_steps: float = setting(
        500,
        label="Save every",
        section="Saving and logging",
        level="basic",
        unit="steps",
        help="A checkpoint every so many steps; below 1 it is a share of the run.",
        higher="fewer checkpoints on disk; more is lost if the machine dies",
        lower="less is lost; more disk and some time",
        usual="50 … 500",
        goes_with=("save_total_limit", "save_strategy"),
        applies=_saves_by_steps,
        gt=0,
    )
    save_total_limit: int | None = setting(
        None,
        label="Checkpoints kept",
        section="Saving and logging",
        level="basic",
        help="Only the newest n checkpoints stay on disk (and the best, where it is wanted).",
        higher="more points to go back to; more disk",
        lower="less disk; empty or 0 keeps all",
        usual="2 … 5 for full fine-tuning, empty for LoRA",
        goes_with=("save_steps",),
        applies=_saves,
        ge=0,
    )
    save_only_model: bool = setting(
        False,
        label="Weights only",
        section="Saving and logging",
        level="basic",
        help="Saves checkpoints without optimiser and random state: smaller, but a run can't be "
        "resumed from them.",
        usual="off",
        goes_with=("save_steps", "resume_from_checkpoint"),
        applies=_saves,
    )
    plot_loss: bool = setting(
        False,
        label="Draw the curves",
        section="Saving and logging",
        level="basic",
        help="Writes the curves as PNG pictures into the run's folder at the end.",
        usual="on",
    )
    logging_first_step: bool = setting(
        False,
        label="Log the first step",
        section="Saving and logging",
        help="Logs step 1 too, whatever the interval.",
        usual="on with a long interval",
        goes_with=("logging_steps",),
    )
    output_dir: str | None = setting(
        None,
        label="Run folder",
        section="Saving and logging",
        help="Where the run is kept; empty makes saves/<model>/<method>/<stage and time>.",
        usual="empty",
        goes_with=("overwrite_output_dir",),
    )
    overwrite_output_dir: bool = setting(
        False,
        label="Reuse the folder",
        section="Saving and logging",
        level="hidden",
        help="Lets a run write into a folder that already holds one.",
        goes_with=("output_dir",),
    )
    resume_from_checkpoint: str | bool | None = setting(
        None,
        label="Resume from",
        section="Saving and logging",
        level="hidden",
        help="A checkpoint folder to go on from; true takes the newest of the run folder.",
        goes_with=("output_dir",),
    )
    checkpointing_by_memory: bool = setting(
        True,
        label="Checkpointing by memory",
        section="Precision and memory",
        own=True,
        help="Leaves gradient checkpointing out where the memory forecast says that all "
        "activations clearly fit, as that is faster; off computes them again always.",
        usual="on",
        goes_with=("disable_gradient_checkpointing", "memory_reserve_gb"),
        applies=_may_checkpoint,
    )
    recover_from_oom: Literal["ask", "auto", "never"] = setting(
        "ask",
        label="Out of memory",
        section="Precision and memory",
        own=True,
        help="What follows when memory runs out: ask whether to go on from the last checkpoint "
        "with half the micro-batch and twice the accumulation, do so by itself (auto), or end "
        "(never).",
        usual="ask; auto for a run that nobody watches",
        goes_with=("per_device_train_batch_size", "gradient_accumulation_steps", "save_steps"),
    )
    include_num_input_tokens_seen: Literal["no", "all", "non_padding"] = setting(
        "no",
        label="Count tokens",
        section="Saving and logging",
        level="hidden",
        help="Writes the number of tokens seen into the trainer's own log; finetui's throughput "
        "always counts real tokens.",
    )
    eval_strategy: Literal["no", "steps", "epoch"] = setting(
        "no",
        label="Measure by",
        section="Evaluation",
        help="When the run measures itself on held-out rows: never, every so many steps, or after "
        "each epoch.",
        usual="steps, with a validation share",
        goes_with=("val_size", "eval_steps"),
    )
    eval_steps: float | None = setting(
        None,
        label="Measure every",
        section="Evaluation",
        unit="steps",
        help="A validation loss every so many steps; empty takes the logging interval; below 1 a "
        "share of the run.",
        higher="less time spent measuring",
        lower="overfitting is seen sooner",
        usual="the save interval",
        goes_with=("eval_strategy", "save_steps"),
        applies=_evaluates_by_steps,
        gt=0,
    )
    per_device_eval_batch_size: int = setting(
        8,
        label="Evaluation batch",
        section="Evaluation",
        unit="rows",
        help="Rows measured or answered at once.",
        higher="faster, with more memory",
        lower="fits a smaller memory",
        usual="1 to 4 times the micro-batch",
        ge=1,
    )
    eval_on_start: bool = setting(
        False,
        label="Measure before",
        section="Evaluation",
        help="Measures once before the first step, so that the curve starts at the untrained "
        "model.",
        usual="off",
        applies=_evaluates,
    )
    compute_accuracy: bool = setting(
        False,
        label="Token accuracy",
        section="Evaluation",
        help="Measures also the share of answer tokens that the model would have picked first.",
        usual="off",
        applies=_counts_tokens,
    )
    load_best_model_at_end: bool = setting(
        False,
        label="End with the best",
        section="Evaluation",
        help="Ends with the weights of the best checkpoint instead of the last ones.",
        usual="on when overfitting is likely",
        goes_with=("metric_for_best_model", "early_stopping_steps", "save_strategy"),
        applies=_evaluates,
    )
    metric_for_best_model: str | None = setting(
        None,
        label="Best by",
        section="Evaluation",
        help="The measure that makes a checkpoint the best; empty means the validation loss.",
        usual="empty",
        goes_with=("greater_is_better",),
        applies=_wants_best,
    )
    greater_is_better: bool | None = setting(
        None,
        label="Greater is better",
        section="Evaluation",
        help="Whether a greater measure is better; empty: yes, unless its name ends in loss.",
        usual="empty",
        goes_with=("metric_for_best_model",),
        applies=_wants_best,
    )
    early_stopping_steps: int | None = setting(
        None,
        label="Stop early after",
        section="Evaluation",
        unit="evaluations",
        help="Ends the run after this many evaluations (not steps) without a gain.",
        higher="more patience",
        lower="ends sooner; may miss a late gain",
        usual="empty, or 3 … 5",
        goes_with=("load_best_model_at_end", "eval_strategy"),
        applies=_evaluates,
        ge=1,
    )
