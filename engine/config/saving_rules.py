"""What must hold between saving, measuring and ending with the best; and what is only odd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config.saving import TOKEN_STAGES
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


def intervals_are_whole(config: RunConfig) -> Problem | None:
    """From 1 on an interval counts steps (as the trainer itself has it)."""
    for name in ("logging_steps", "save_steps", "eval_steps"):
        value = getattr(config, name)
        if value is not None and value > 1 and value != int(value):
            return Problem(
                f"{name} is {value:g}: from 1 on it is a number of steps, and must be whole.",
                hint="Use a whole number, or a share of the run below 1.",
                setting=name,
            )
    return None


def evaluation_needs_rows(config: RunConfig) -> Problem | None:
    """Measuring during the run needs held-out rows (the trainer raises minutes in)."""
    if config.eval_strategy != "no" and not config.eval_dataset and config.val_size == 0:
        return Problem(
            f"eval_strategy is {config.eval_strategy}, but there are no rows to measure on.",
            hint="Set val_size, such as 0.1, or name an eval_dataset.",
            setting="eval_strategy",
        )
    return None


def best_model_can_be_found(config: RunConfig) -> Problem | None:
    """Ending with the best needs a checkpoint at every measurement it may choose."""
    needs = config.load_best_model_at_end or config.save_strategy == "best"
    name = "load_best_model_at_end" if config.load_best_model_at_end else "save_strategy"
    if needs and config.eval_strategy == "no":
        return Problem(
            f"{name} asks for the best checkpoint, but nothing is measured.",
            hint="Set eval_strategy: steps and a val_size.",
            setting=name,
        )
    if not config.load_best_model_at_end or config.save_strategy == "best":
        return None
    if config.save_strategy != config.eval_strategy:
        return Problem(
            f"load_best_model_at_end needs saving and measuring together, but save_strategy is "
            f"{config.save_strategy} and eval_strategy is {config.eval_strategy}.",
            hint=f"Set save_strategy: {config.eval_strategy}.",
            setting=name,
        )
    if config.save_strategy == "steps":
        measured = config.eval_steps or config.logging_steps
        mixed = (measured < 1) != (config.save_steps < 1)
        # Shares are compared in millionths, as floats don't divide evenly.
        left = round(config.save_steps * 1_000_000) % max(round(measured * 1_000_000), 1)
        if mixed or left:
            return Problem(
                f"load_best_model_at_end needs save_steps ({config.save_steps:g}) to be a "
                f"multiple of eval_steps ({measured:g}).",
                hint=f"Set save_steps: {measured:g}.",
                setting="save_steps",
            )
    return None


def early_stop_needs_best(config: RunConfig) -> Problem | None:
    """Early stopping watches the best measure: it needs evaluation and best-model settings."""
    if config.early_stopping_steps is not None and (
        config.eval_strategy == "no" or not config.load_best_model_at_end
    ):
        return Problem(
            "early_stopping_steps counts evaluations without a gain, so it needs evaluation and "
            "load_best_model_at_end.",
            hint="Set eval_strategy: steps, a val_size and load_best_model_at_end: true, or leave "
            "it empty.",
            setting="early_stopping_steps",
        )
    return None


def accuracy_is_of_tokens(config: RunConfig) -> Problem | None:
    """The other stages measure what is theirs: the preference stages the share of pairs."""
    if config.do_train and config.compute_accuracy and config.stage not in TOKEN_STAGES:
        return Problem(
            f"compute_accuracy measures the tokens of given answers, but stage {config.stage} "
            "has measures of its own.",
            hint="Switch it off.",
            setting="compute_accuracy",
        )
    return None


RULES = (
    ("o9", intervals_are_whole),
    ("o10", evaluation_needs_rows),
    ("o11", best_model_can_be_found),
    ("o12", early_stop_needs_best),
    ("o26", accuracy_is_of_tokens),
)


def held_out_rows_are_measured(config: RunConfig) -> Problem | None:
    """Rows held out of training that nothing ever measures on are only lost."""
    waits = config.do_train and not (config.do_eval or config.do_predict)
    if waits and config.val_size > 0 and config.eval_strategy == "no":
        return Problem(
            f"val_size {config.val_size:g} holds rows out of training, but nothing measures on "
            "them.",
            hint="Set eval_strategy: steps, or val_size: 0.",
            setting="eval_strategy",
        )
    return None


def a_checkpoint_comes_in_time(config: RunConfig) -> Problem | None:
    """A run whose steps are known and that ends before its first checkpoint saves none on the
    way: nothing to go on from when the machine dies."""
    if not config.do_train or config.save_strategy != "steps" or config.max_steps <= 0:
        return None
    if config.save_steps > config.max_steps:
        return Problem(
            f"save_steps is {config.save_steps:g}, but the run ends after {config.max_steps} "
            "steps: no checkpoint is saved on the way.",
            hint=f"Set save_steps to {max(config.max_steps // 4, 1)}, or leave it if the end "
            "result is enough.",
            setting="save_steps",
        )
    return None


def halving_needs_a_checkpoint(config: RunConfig) -> Problem | None:
    """Going on by itself after running out of memory begins anew where nothing was saved."""
    if not config.do_train or config.recover_from_oom != "auto":
        return None
    if config.save_strategy == "no" or config.save_only_model:
        why = "save_only_model" if config.save_only_model else "save_strategy: no"
        return Problem(
            f"recover_from_oom goes on from the last checkpoint, but {why} leaves none to go on "
            "from: the run would begin anew.",
            hint="Set save_strategy: steps and save_only_model: false.",
            setting="recover_from_oom",
        )
    return None


REMARKS = (held_out_rows_are_measured, a_checkpoint_comes_in_time, halving_needs_a_checkpoint)
