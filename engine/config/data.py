"""Which rows are learned from and how they become tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


# The stages whose rows are whole conversations, so that it can be chosen which tokens count.
ANSWER_STAGES = ("sft", "distill")


def _on_prompt(config: Any) -> bool:
    # One that is on stays in sight in other stages, as a rule asks for it to be taken away.
    return config.stage in ANSWER_STAGES or bool(config.train_on_prompt)


def _on_last(config: Any) -> bool:
    return config.stage in ANSWER_STAGES or bool(config.mask_history)


def _packs(config: Any) -> bool:
    return config.stage in ("pt", "sft") or bool(config.packing)


@group
class DataGroup:
    """Sets, cutting, masking, held-out rows."""

    cutoff_len: int = setting(
        2048,
        label="Cutoff length",
        section="Batch",
        level="basic",
        unit="tokens",
        help="The most tokens of a row, prompt and answer together; a longer row loses its end.",
        higher="keeps long rows whole; memory grows, and attention with the square of it",
        lower="saves memory and time; long answers are cut and their end is never learned",
        usual="512 … 4096; the longest row of the set",
        goes_with=("per_device_train_batch_size",),
        ge=1,
    )
    dataset: str | None = setting(
        None,
        label="Datasets",
        section="Data",
        level="basic",
        help="The sets to learn from: names of the registry, as a comma list.",
        goes_with=("dataset_dir", "max_samples"),
    )
    eval_dataset: str | None = setting(
        None,
        label="Evaluation datasets",
        section="Data",
        level="basic",
        help="Sets that are only measured on, as a comma list; instead of a validation share.",
        usual="empty",
        goes_with=("val_size", "eval_strategy"),
    )
    identity_name: str = setting(
        "Nova",
        label="Assistant's name",
        section="Data",
        level="basic",
        own=True,
        help="Replaces {{name}} in the bundled identity set: what the model will call itself.",
        usual="any name",
        goes_with=("identity_author",),
    )
    identity_author: str = setting(
        "Lumen",
        label="Assistant's maker",
        section="Data",
        level="basic",
        own=True,
        help="Replaces {{author}} in the bundled identity set: who made the model.",
        usual="any name",
        goes_with=("identity_name",),
    )
    max_samples: int | None = setting(
        None,
        label="Most rows per set",
        section="Data",
        level="basic",
        unit="rows",
        help="Only the first n rows of each set are used.",
        higher="more to learn from, a longer run",
        lower="a quick trial of the settings",
        usual="empty; 100 … 1000 for a trial",
        goes_with=("dataset",),
        ge=1,
    )
    bad_rows: Literal["skip", "stop"] = setting(
        "skip",
        label="Rows that can't be used",
        section="Data",
        own=True,
        help="skip leaves them out, and the log says how many and why; stop ends the run before it "
        "trains.",
        usual="skip; stop where every row must count",
        goes_with=("dataset",),
    )
    val_size: float = setting(
        0.0,
        label="Validation share",
        section="Data",
        level="basic",
        help="Held out of training to measure on: a share below 1, or a number of rows from 1 on.",
        higher="a surer validation loss; fewer rows to learn from",
        lower="more rows to learn from; overfitting is seen later, at 0 not at all",
        usual="0.1 … 0.2 of a small set, less of a large one",
        goes_with=("eval_strategy", "eval_steps"),
        ge=0,
    )
    template: str | None = setting(
        None,
        label="Chat template",
        section="Data",
        level="basic",
        help="How roles and turns become text; empty reads it from the model's own files, which "
        "is right for chat models.",
        usual="empty; for a base model default, or a name of finetui templates",
        goes_with=("model_name_or_path", "default_system", "enable_thinking"),
    )
    default_system: str | None = setting(
        None,
        label="System text",
        section="Data",
        level="basic",
        help="The system text of rows that have none, instead of the template's own.",
        usual="empty; in chat the same text as in training",
        goes_with=("template",),
    )
    train_on_prompt: bool = setting(
        False,
        label="Train on prompt",
        section="Data",
        level="basic",
        help="Takes the loss on the prompt's tokens too, not on answers alone.",
        usual="off",
        goes_with=("mask_history",),
        applies=_on_prompt,
    )
    mask_history: bool = setting(
        False,
        label="Only the last answer",
        section="Data",
        level="basic",
        help="Takes the loss on the last answer of a conversation only.",
        usual="off",
        goes_with=("train_on_prompt",),
        applies=_on_last,
    )
    dataset_dir: str | None = setting(
        None,
        label="Dataset folder",
        section="Data",
        help="The folder with dataset_info.json; empty means ./data, or the bundled sets where "
        "there is none.",
        usual="empty",
        goes_with=("dataset",),
    )
    packing: bool | None = setting(
        None,
        label="Packing",
        section="Data",
        help="Fills rows up to the cutoff: in pre-training with texts joined and cut, in sft with "
        "whole conversations that never see one another; empty is on in pre-training only.",
        usual="empty",
        goes_with=("cutoff_len", "neat_packing"),
        applies=_packs,
    )
    disable_shuffling: bool = setting(
        False,
        label="Keep the order",
        section="Data",
        help="Trains on the rows in the order of the file instead of a new random one an epoch.",
        usual="off",
        goes_with=("seed",),
    )


def validation_needs_rows(config: RunConfig) -> Problem | None:
    """Rule 4: a validation share needs a set to take it from."""
    if config.val_size > 0 and not config.dataset:
        return Problem(
            f"val_size is {config.val_size:g}, but there is no dataset to take it from.",
            hint="Name a dataset, or set val_size to 0.",
            setting="val_size",
        )
    return None


def one_validation_source(config: RunConfig) -> Problem | None:
    """Rule 5: either a share of the training sets or sets of their own."""
    if config.val_size > 0 and config.eval_dataset:
        return Problem(
            "Both val_size and eval_dataset ask for validation rows.",
            hint="Keep one: set val_size to 0, or leave eval_dataset empty.",
            setting="val_size",
        )
    return None


def validation_count_is_whole(config: RunConfig) -> Problem | None:
    """From 1 on, val_size counts rows."""
    if config.val_size > 1 and config.val_size != int(config.val_size):
        return Problem(
            f"val_size is {config.val_size:g}: from 1 on it is a number of rows, and must be "
            "whole.",
            hint="Use a share below 1, such as 0.1, or a whole number.",
            setting="val_size",
        )
    return None


def one_mask(config: RunConfig) -> Problem | None:
    """Rule 8: the whole prompt and only the last answer exclude each other."""
    if config.mask_history and config.train_on_prompt:
        return Problem(
            "mask_history trains the last answer only, train_on_prompt the prompt too: they "
            "exclude each other.",
            hint="Switch one of them off.",
            setting="mask_history",
        )
    return None


def masks_are_of_answers(config: RunConfig) -> Problem | None:
    """Rule 18, the half about tokens: elsewhere the stage itself says which tokens count.

    Distillation learns on the answers of conversations too, so that it works there.
    """
    if not config.do_train or config.stage in ANSWER_STAGES:
        return None
    for name in ("train_on_prompt", "mask_history"):
        if getattr(config, name):
            return Problem(
                f"{name} chooses which tokens of a conversation count, but stage {config.stage} "
                "has its own way.",
                hint="Switch it off, or set stage: sft.",
                setting=name,
            )
    return None


def packing_is_of_tokens(config: RunConfig) -> Problem | None:
    """Packing joins texts and conversations; other stages have rows of several parts."""
    if not config.do_train or not config.packing or config.stage in ("pt", "sft"):
        return None
    return Problem(
        f"packing joins the rows of stages pt and sft, but the stage is {config.stage}.",
        hint="Leave packing out.",
        setting="packing",
    )


RULES = (
    ("4", validation_needs_rows),
    ("5", one_validation_source),
    ("o3", validation_count_is_whole),
    ("8", one_mask),
    ("18", masks_are_of_answers),
    ("o27", packing_is_of_tokens),
)
