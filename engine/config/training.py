"""How long, how fast, in which portions: epochs, learning rate, scheduler, batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.config.schedule import OPTIONS, WITHOUT_WARMUP, WORDS, schedule_problems
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "greedy",
]
# These follow the validation loss, so they need one.
FOLLOWING_LOSS = frozenset({"reduce_lr_on_plateau", "greedy"})
MOST_SEED = 2**32 - 1  # numpy takes no more, and transformers seeds it too


def _warms_up(config: Any) -> bool:
    return config.lr_scheduler_type not in WITHOUT_WARMUP


@group
class TrainingGroup:
    """Epochs, learning rate, batch sizes, seeds."""

    num_train_epochs: float = setting(
        3.0,
        label="Epochs",
        section="Basics",
        level="basic",
        help="How many times the run passes over all rows.",
        higher="learns the rows more firmly; past a point by heart, and forgets the rest",
        lower="a shorter run; may not finish learning",
        usual="3 … 10 for a small set, 1 … 3 for a large one",
        usual_for=dict.fromkeys(("rm", "dpo", "kto", "ppo", "grpo", "rloo"), "1 … 3"),
        goes_with=("learning_rate", "val_size"),
        gt=0,
    )
    learning_rate: float = setting(
        5e-5,
        label="Learning rate",
        section="Basics",
        level="basic",
        help="How far each update moves the weights.",
        higher="learns faster; may swing, or jump to NaN",
        lower="steadier; may not finish learning",
        usual="1e-4 … 5e-4",
        usual_for={
            "lora": "1e-4 … 5e-4",
            "full": "1e-5 … 5e-5",
            "freeze": "1e-5 … 1e-4",
            "rm": "5e-5 … 2e-4 with LoRA, a tenth of it without",
            **dict.fromkeys(
                ("ppo", "dpo", "kto", "grpo", "rloo"),
                "5e-6 … 5e-5 with LoRA, a tenth of it without",
            ),
        },
        goes_with=("lr_scheduler_type", "warmup_ratio"),
        gt=0,
    )
    lr_scheduler_type: Scheduler = setting(
        "linear",
        label="Scheduler",
        section="Basics",
        level="basic",
        help="How the learning rate changes over the run: most fall from the given value towards "
        "zero.",
        usual="cosine",
        goes_with=("learning_rate", "warmup_ratio", "lr_scheduler_kwargs"),
    )
    warmup_ratio: float = setting(
        0.0,
        label="Warm-up ratio",
        section="Basics",
        level="basic",
        help="The share of all steps in which the learning rate climbs from zero to its value.",
        higher="a gentler start; less time at full rate",
        lower="reaches full rate sooner; the first steps may swing",
        usual="0.03 … 0.1",
        goes_with=("warmup_steps", "learning_rate"),
        applies=_warms_up,
        ge=0,
        # The trainer takes a share as warmup_steps below 1; at 1 it would mean one step.
        lt=1,
    )
    per_device_train_batch_size: int = setting(
        8,
        label="Micro-batch",
        section="Batch",
        level="basic",
        unit="rows",
        help="Rows computed at once; this sets the memory.",
        higher="faster where the memory allows it",
        lower="fits a smaller memory; use more accumulation for the same update",
        usual="1 … 8",
        goes_with=("gradient_accumulation_steps", "cutoff_len"),
        ge=1,
    )
    gradient_accumulation_steps: int = setting(
        1,
        label="Accumulation",
        section="Batch",
        level="basic",
        unit="micro-batches",
        help="Micro-batches summed up before the weights move; micro-batch × this is the "
        "effective batch.",
        higher="a smoother update from more rows, at no memory; fewer updates an epoch",
        lower="more, noisier updates",
        usual="an effective batch of 8 … 64",
        goes_with=("per_device_train_batch_size", "learning_rate"),
        ge=1,
    )
    warmup_steps: int = setting(
        0,
        label="Warm-up steps",
        section="Optimiser",
        unit="steps",
        help="Warm-up as a number of steps; above 0 it wins over the ratio.",
        higher="a gentler start",
        lower="full rate sooner; 0 leaves it to the ratio",
        usual="0",
        goes_with=("warmup_ratio",),
        applies=_warms_up,
        ge=0,
    )
    max_steps: int = setting(
        -1,
        label="Steps at most",
        section="Optimiser",
        unit="steps",
        help="Ends the run after this many updates, whatever the epochs say; −1 leaves it to the "
        "epochs.",
        usual="-1",
        goes_with=("num_train_epochs",),
        ge=-1,
    )
    lr_scheduler_kwargs: dict[str, Any] | None = setting(
        None,
        label="Scheduler options",
        section="Optimiser",
        help="Further options of the scheduler, such as {min_lr: 1e-6} or {num_cycles: 3}.",
        usual="empty",
        goes_with=("lr_scheduler_type",),
    )
    seed: int = setting(
        42,
        label="Seed",
        section="Optimiser",
        level="basic",
        help="Where randomness starts: the same seed on the same machine gives the same run.",
        usual="any number",
        goes_with=("data_seed",),
        ge=0,
        le=MOST_SEED,
    )
    data_seed: int | None = setting(
        None,
        label="Seed of the order",
        section="Optimiser",
        help="A seed of its own for the order of the rows; empty takes the run's.",
        usual="empty",
        goes_with=("seed",),
        ge=0,
        le=MOST_SEED,
    )
    train_sampling_strategy: Literal["random", "sequential", "group_by_length"] = setting(
        "random",
        label="Order of rows",
        section="Batch",
        help="random; sequential as in the file; or rows of like length together, which leaves "
        "less padding.",
        usual="random, or group_by_length for rows of very different length",
        goes_with=("disable_shuffling",),
    )
    dataloader_num_workers: int = setting(
        0,
        label="Loader workers",
        section="Batch",
        level="hidden",
        unit="processes",
        help="Accepted from files; rows are encoded before the first step, so a run needs no "
        "loader process and says so.",
        ge=0,
    )


def steps_are_positive(config: RunConfig) -> Problem | None:
    """The trainer would end at once with 0 steps."""
    if config.max_steps == 0:
        return Problem(
            "max_steps is 0, so nothing would be trained.",
            hint="Use −1 to leave it to the epochs, or a number above 0.",
            setting="max_steps",
        )
    return None


def scheduler_has_its_options(config: RunConfig) -> Problem | None:
    """Some schedulers refuse to start without an option (transformers.optimization)."""
    given = config.lr_scheduler_kwargs or {}
    kind = config.lr_scheduler_type
    if kind in ("cosine_with_min_lr", "cosine_warmup_with_min_lr") and (
        ("min_lr" in given) == ("min_lr_rate" in given)
    ):
        return _option(
            f"The scheduler {kind} needs exactly one of min_lr and min_lr_rate.",
            "Add lr_scheduler_kwargs: {min_lr_rate: 0.1}.",
        )
    if kind == "warmup_stable_decay" and "num_decay_steps" not in given:
        return _option(
            "The scheduler warmup_stable_decay needs to know how many steps it falls.",
            "Add lr_scheduler_kwargs: {num_decay_steps: 50}.",
        )
    end = given.get("lr_end", 1e-7)
    if kind == "polynomial" and isinstance(end, (int, float)) and end >= config.learning_rate:
        return _option(
            f"The scheduler polynomial falls to lr_end {end:g}, which is not below the learning "
            f"rate {config.learning_rate:g}.",
            "Set a smaller lr_end in lr_scheduler_kwargs.",
        )
    return None


def scheduler_knows_its_options(config: RunConfig) -> Problem | None:
    """An option that a scheduler does not have ends the run, or is dropped without a word."""
    kind = config.lr_scheduler_type
    known = OPTIONS[kind]
    for name, value in (config.lr_scheduler_kwargs or {}).items():
        if name not in known:
            has = f"It has {', '.join(known)}." if known else "It has none."
            return _option(f"The scheduler {kind} has no option {name}.", has)
        if name in WORDS:
            if value not in WORDS[name]:
                return _option(
                    f"{name} is {value!r} in lr_scheduler_kwargs.",
                    f"It is one of {', '.join(WORDS[name])}.",
                )
        elif not isinstance(value, (int, float)):
            return _option(
                f"{name} is {value!r} in lr_scheduler_kwargs, which is not a number.",
                "Write small numbers as 1.0e-6.",
            )
    return None


def _option(what: str, hint: str) -> Problem:
    return Problem(what, hint=hint, setting="lr_scheduler_kwargs")


def scheduler_has_its_loss(config: RunConfig) -> Problem | None:
    """Schedulers that follow the validation loss need evaluation during the run."""
    if config.lr_scheduler_type in FOLLOWING_LOSS and config.eval_strategy == "no":
        return Problem(
            f"The scheduler {config.lr_scheduler_type} follows the validation loss, but nothing "
            "is evaluated.",
            hint="Set eval_strategy: steps and a val_size, or choose cosine.",
            setting="lr_scheduler_type",
        )
    return None


RULES = (
    ("o6", steps_are_positive),
    ("o7", scheduler_has_its_options),
    ("o85", scheduler_knows_its_options),
    ("o8", scheduler_has_its_loss),
)


def warm_up_fits(config: RunConfig) -> Problem | None:
    """Where the number of steps is known beforehand; the run says it of the others."""
    if config.max_steps < 1 or scheduler_has_its_options(config):
        return None
    return next(iter(schedule_problems(config, config.max_steps)), None)


def greedy_can_fall(config: RunConfig) -> Problem | None:
    """Its lowest rate is meant for small networks, and above what language models train with."""
    least = (config.lr_scheduler_kwargs or {}).get("min_lr", 1e-3)
    numeric = isinstance(least, (int, float))
    if config.lr_scheduler_type == "greedy" and numeric and least >= config.learning_rate:
        return Problem(
            f"The scheduler greedy never goes below min_lr {least:g}, and the learning rate is "
            f"{config.learning_rate:g}: it can only rise.",
            hint="Add lr_scheduler_kwargs: {min_lr: 1.0e-6, max_lr: 1.0e-3}.",
            setting="lr_scheduler_kwargs",
        )
    return None


REMARKS = (warm_up_fits, greedy_can_fall)
