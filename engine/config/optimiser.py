"""The optimiser and what holds its updates in check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES
from engine.config.optimiser_runs import what_it_lacks
from engine.installed import torch_is_for_cpus
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# transformers.training_args.OptimizerNames but for adamw_8bit, a second name of adamw_bnb_8bit that
# is translated; which of them run here: optimiser_runs.py.
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
    "adamw_torch_8bit",
    "adamw_torch_4bit",
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
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "apollo_adamw",
    "apollo_adamw_layerwise",
    "lomo",
    "adalomo",
    "schedule_free_adamw",
    "schedule_free_radam",
    "schedule_free_sgd",
    "grokadamw",
    "stable_adamw",
    "adamw_anyprecision",
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
]


def _has_betas(config: Any) -> bool:
    named = any(word in config.optim for word in ("adam", "lion", "ademamix"))
    return named or config.use_muon or config.use_adam_mini


def _has_epsilon(config: Any) -> bool:
    return "adam" in config.optim or config.use_muon or config.use_adam_mini


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


def optimiser_can_run(config: RunConfig) -> Problem | None:
    """Rule 32, and what needs a GPU: the optimiser by its name, where one of that name is used."""
    if config.use_adam_mini or config.use_muon or config.use_apollo:
        return None  # these bring their own
    name = config.optim
    if config.use_galore:
        # GaLore takes its own kind of the optimiser; only the 8-bit one asks for more.
        if "8bit" not in name or what_it_lacks("use_galore", "cuda"):
            return None
        name = "galore_adamw_8bit"
    lacking = what_it_lacks(name, "cpu" if computes_on_cpu(config) else "cuda")
    if not lacking:
        return None
    what, _, install = lacking.partition(": ")
    if install:
        return Problem(f"{what}.", hint=f"Install it with: {install}", setting="optim")
    return Problem(what, hint="adamw_torch and adafactor run everywhere.", setting="optim")


def computes_on_cpu(config: Any) -> bool:
    """Whether it is certain before looking at the machine that the run computes on the CPU."""
    named = (config.device or "").strip().lower()
    return bool(config.use_cpu or named == "cpu" or torch_is_for_cpus())


RULES: tuple[tuple[str, Any], ...] = (("32", optimiser_can_run),)


def nothing_is_paged(config: RunConfig) -> Problem | None:
    """On a CPU bitsandbytes keeps the state where it is, and only warns."""
    if config.optim.startswith("paged_") and computes_on_cpu(config):
        return Problem(
            f"{config.optim} pages nothing on a CPU: its state stays in memory.",
            setting="optim",
        )
    return None


def schedule_free_wants_a_constant_rate(config: RunConfig) -> Problem | None:
    """Schedule-free optimisers average instead of letting the rate fall (Defazio et al., 2024)."""
    flat = ("constant", "constant_with_warmup")
    if config.optim.startswith("schedule_free") and config.lr_scheduler_type not in flat:
        return Problem(
            f"{config.optim} is made for a learning rate that does not fall, but the scheduler is "
            f"{config.lr_scheduler_type}.",
            hint="Set lr_scheduler_type: constant; its warm-up is the optimiser's own.",
            setting="lr_scheduler_type",
        )
    return None


def unused_optim(config: RunConfig) -> Problem | None:
    """Adam-mini and Muon are optimisers of their own, whatever `optim` says."""
    own = "use_muon" if config.use_muon else "use_adam_mini" if config.use_adam_mini else ""
    if own and config.optim not in ("adamw_torch", "adamw_torch_fused"):
        return Problem(
            f"{own} brings its own optimiser, so optim: {config.optim} is not used.",
            setting="optim",
        )
    return None


REMARKS = (
    noise_is_left_out,
    nothing_is_paged,
    schedule_free_wants_a_constant_rate,
    unused_optim,
)
