"""The optimiser and what holds its updates in check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# transformers.training_args.OptimizerNames, without those that need a package which finetui does
# not install (their names are in later_values.py).
Optimiser = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adafactor",
    "sgd",
    "adagrad",
    "rmsprop",
    "adamw_bnb_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "lion_32bit",
    "lion_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "ademamix",
    "ademamix_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
]


def _has_betas(config: Any) -> bool:
    return any(word in config.optim for word in ("adam", "lion", "ademamix"))


def _has_epsilon(config: Any) -> bool:
    return "adam" in config.optim or "ademamix" in config.optim


def _takes_noise(config: Any) -> bool:
    # Off where answers are learned from as they were sampled.
    return config.stage not in WRITING_STAGES or bool(config.neftune_noise_alpha)


def _whole_rows(config: Any) -> bool:
    return config.stage in ("pt", "sft") or config.label_smoothing_factor > 0


@group
class OptimiserGroup:
    """Optimiser, decay, clipping, noise."""

    optim: Optimiser = setting(
        "adamw_torch",
        label="Optimiser",
        section="Optimiser",
        level="basic",
        help="The rule that turns gradients into updates; the 8-bit ones hold their state in a "
        "quarter of the memory.",
        usual="adamw_torch",
        usual_for={"full": "adamw_torch; adamw_bnb_8bit or adafactor when memory is short"},
        goes_with=("learning_rate", "weight_decay"),
    )
    weight_decay: float = setting(
        0.0,
        label="Weight decay",
        section="Optimiser",
        level="basic",
        help="Pulls trained weights a little towards zero at each update.",
        higher="holds weights small; overfits less, learns slower",
        lower="leaves weights free",
        usual="0 … 0.1",
        goes_with=("optim",),
        ge=0,
    )
    max_grad_norm: float = setting(
        1.0,
        label="Maximum gradient norm",
        section="Optimiser",
        level="basic",
        help="A gradient longer than this is shortened to it before the update.",
        higher="lets large gradients through; 0 never shortens",
        lower="steadier through bad rows; slower",
        usual="1.0",
        goes_with=("learning_rate",),
        ge=0,
    )
    neftune_noise_alpha: float | None = setting(
        None,
        label="NEFTune alpha",
        section="Optimiser",
        level="basic",
        help="Adds noise of this strength to the embeddings while training, which can make "
        "answers richer.",
        higher="more noise; too much blurs the rows",
        lower="less noise; empty or 0 adds none",
        usual="empty, or 5 … 15",
        applies=_takes_noise,
        ge=0,
    )
    label_smoothing_factor: float = setting(
        0.0,
        label="Label smoothing",
        section="Optimiser",
        help="Gives this share of the target to all other tokens, so that the model stays less "
        "sure.",
        higher="less sure of itself; the loss can't reach 0",
        lower="learns the rows as they are",
        usual="0",
        applies=_whole_rows,
        ge=0,
        lt=1,
    )
    adam_beta1: float = setting(
        0.9,
        label="Beta 1",
        section="Optimiser",
        help="How much of the earlier direction an update keeps.",
        higher="smoother, slower to turn",
        lower="follows the newest gradient",
        usual="0.9",
        goes_with=("adam_beta2",),
        applies=_has_betas,
        ge=0,
        lt=1,
    )
    adam_beta2: float = setting(
        0.999,
        label="Beta 2",
        section="Optimiser",
        help="How long the size of earlier gradients is remembered.",
        higher="steadier step sizes",
        lower="adapts faster after a spike",
        usual="0.95 … 0.999",
        goes_with=("adam_beta1",),
        applies=_has_betas,
        ge=0,
        lt=1,
    )
    adam_epsilon: float = setting(
        1e-8,
        label="Epsilon",
        section="Optimiser",
        help="A small number that keeps the division in Adam from blowing up.",
        usual="1e-8",
        applies=_has_epsilon,
        gt=0,
    )
    optim_args: str | None = setting(
        None,
        label="Optimiser options",
        section="Optimiser",
        help="Further options of the optimiser, as name=value with commas between.",
        usual="empty",
        goes_with=("optim",),
    )


def noise_is_left_out(config: RunConfig) -> Problem | None:
    """Where a policy is compared with its reference, the noise would be what is compared."""
    if config.neftune_noise_alpha and config.stage in WRITING_STAGES:
        return Problem(
            f"neftune_noise_alpha is left out in {config.stage}: it would blur the comparison "
            "with the reference.",
            setting="neftune_noise_alpha",
        )
    return None


RULES: tuple[tuple[str, Any], ...] = ()

REMARKS = (noise_is_left_out,)
