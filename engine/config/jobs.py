"""Which jobs a file asks for: training, evaluation, prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config.data import ANSWER_STAGES
from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


@group
class JobsGroup:
    """What to do, and the preset the form started from."""

    do_train: bool = setting(
        False,
        label="Train",
        section="Jobs",
        level="hidden",
        help="The file asks for training.",
    )
    do_eval: bool = setting(
        False,
        label="Evaluate",
        section="Jobs",
        level="hidden",
        help="The file asks for loss, perplexity and token accuracy on the evaluation rows.",
        goes_with=("eval_dataset", "val_size"),
    )
    do_predict: bool = setting(
        False,
        label="Predict",
        section="Jobs",
        level="hidden",
        help="The file asks for an answer to each evaluation row, with scores.",
        goes_with=("predict_with_generate",),
    )
    predict_with_generate: bool = setting(
        False,
        label="Answer each row",
        section="Jobs",
        level="hidden",
        help="Generates an answer for each evaluation row and scores it by BLEU-4 and ROUGE.",
        goes_with=("do_predict", "max_new_tokens"),
    )
    preset: str = setting(
        "",
        label="Preset",
        section="Jobs",
        level="hidden",
        own=True,
        help="The preset that the form was last set to; changes nothing by itself.",
    )


def training_needs_a_set(config: RunConfig) -> Problem | None:
    """Rule 23, the first half."""
    if config.do_train and not config.dataset:
        return Problem(
            "There is no dataset to train on.",
            hint="Set dataset to a name of the registry, such as identity.",
            setting="dataset",
        )
    return None


def measuring_needs_rows(config: RunConfig) -> Problem | None:
    """Rule 23, the second half."""
    wanted = [n for n in ("do_eval", "do_predict", "predict_with_generate") if getattr(config, n)]
    # eval_strategy without rows is told by its own rule.
    if wanted and not config.eval_dataset and config.val_size == 0:
        return Problem(
            f"{wanted[0]} is on, but there are no rows to measure on.",
            hint="Name an eval_dataset, or set val_size.",
            setting=wanted[0],
        )
    return None


def prediction_generates(config: RunConfig) -> Problem | None:
    """Rule 19: predicting without generating would only repeat the loss."""
    if config.do_predict and not config.predict_with_generate:
        return Problem(
            "do_predict without predict_with_generate would answer nothing.",
            hint="Add predict_with_generate: true, or use do_eval for the loss.",
            setting="predict_with_generate",
        )
    return None


def answers_belong_to_conversations(config: RunConfig) -> Problem | None:
    """Rule 18, the half about prediction: it compares with the answers of conversations.

    The stages that write answers are trained on such sets too, so that prediction on its own
    works with their settings as they stand.
    """
    alone = config.stage in WRITING_STAGES and not config.do_train
    if config.predict_with_generate and config.stage not in ANSWER_STAGES and not alone:
        return Problem(
            f"predict_with_generate compares with the answers of a conversation set, which stage "
            f"{config.stage} is not about.",
            hint="Predict on its own with stage: sft and an eval_dataset; an adapter of any stage "
            "is loaded all the same.",
            setting="predict_with_generate",
        )
    return None


def one_kind_of_score(config: RunConfig) -> Problem | None:
    """Rule 24, the part that is here: token accuracy or generated answers."""
    if config.predict_with_generate and config.compute_accuracy:
        return Problem(
            "predict_with_generate scores written answers, compute_accuracy single tokens: one "
            "run measures one of them.",
            hint="Switch one of them off.",
            setting="compute_accuracy",
        )
    return None


RULES = (
    ("23", training_needs_a_set),
    ("23", measuring_needs_rows),
    ("19", prediction_generates),
    ("18", answers_belong_to_conversations),
    ("24", one_kind_of_score),
)
