"""Rules between the families of optimisers and the rest of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from engine.config.optimiser_runs import FAMILY_NEEDS, what_it_lacks
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# The switches that project gradients or train a part at a time; the other two are whole optimisers.
_SAVING = ("use_galore", "use_apollo", "use_badam")
_FAMILIES = (*_SAVING, "use_adam_mini", "use_muon")
_NAMES = {
    "use_galore": "GaLore",
    "use_apollo": "APOLLO",
    "use_badam": "BAdam",
    "use_adam_mini": "Adam-mini",
    "use_muon": "Muon",
}
_GALORE_BASES = frozenset(
    {
        *("adamw_torch", "adamw_torch_fused", "adafactor"),
        *("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit"),
    }
)
_PLAIN_ADAMW = frozenset({"adamw_torch", "adamw_torch_fused"})
# BAdam builds its optimiser anew for each block, from tensors of its own.
_BADAM_BASES = frozenset(
    {
        *("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"),
        *("adamw_8bit", "adamw_bnb_8bit", "lion_32bit", "lion_8bit", "ademamix", "ademamix_8bit"),
        *("rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"),
    }
)


def families(config: Any) -> list[str]:
    """The family switches that are on, in the form's order."""
    return [name for name in _FAMILIES if getattr(config, name)]


def updates_in_backward(config: Any) -> bool:
    """Whether weights move inside the backward pass: layer-wise GaLore and APOLLO, and LOMO."""
    if config.use_galore:
        return bool(config.galore_layerwise)
    if config.use_apollo:
        return bool(config.apollo_layerwise)
    if families(config):
        return False
    name = str(config.optim)
    return name.endswith("_layerwise") or name in ("lomo", "adalomo")


def saving_needs_whole_weights(config: RunConfig) -> Problem | None:
    """Rule 13: GaLore, APOLLO and BAdam train whole weights, one of them at a time."""
    on = families(config)
    saving = [name for name in on if name in _SAVING]
    if saving and config.finetuning_type not in ("full", "freeze"):
        return Problem(
            f"{_NAMES[saving[0]]} trains whole weights, but the method is "
            f"{config.finetuning_type}.",
            hint="Set finetuning_type: full (or freeze), or switch it off.",
            setting=saving[0],
        )
    if len(saving) > 1:
        return Problem(
            f"{_NAMES[saving[0]]} and {_NAMES[saving[1]]} can't train the same weights.",
            hint="Keep one of them.",
            setting=saving[1],
        )
    return None


def one_family(config: RunConfig) -> Problem | None:
    """Adam-mini and Muon are whole optimisers: nothing fits beside them."""
    on = families(config)
    if len(on) > 1 and not all(name in _SAVING for name in on):
        return Problem(
            f"{_NAMES[on[0]]} and {_NAMES[on[-1]]} are two optimisers.",
            hint="Keep one of them.",
            setting=on[-1],
        )
    return None


def adam_mini_needs_whole_weights(config: RunConfig) -> Problem | None:
    """Adam-mini shares step sizes among the rows of an attention head: adapters have none."""
    if config.use_adam_mini and config.finetuning_type not in ("full", "freeze"):
        return Problem(
            "Adam-mini shares one step size among a head's weights, which an adapter "
            f"({config.finetuning_type}) does not have.",
            hint="Set finetuning_type: full or freeze, or switch use_adam_mini off.",
            setting="use_adam_mini",
        )
    return None


def lora_plus_needs_groups(config: RunConfig) -> Problem | None:
    """LoRA+ gives each matrix its own rate, which not every optimiser takes."""
    if config.loraplus_lr_ratio is None:
        return None
    name = str(config.optim)
    taken = "Muon" if config.use_muon else ""
    if updates_in_backward(config) or name.startswith(("galore_", "apollo_")):
        taken = name
    if taken:
        return Problem(
            f"{taken} has one learning rate for all matrices, so LoRA+ can't give them two.",
            hint="Set optim: adamw_torch, or leave loraplus_lr_ratio empty.",
            setting="loraplus_lr_ratio",
        )
    return None


def not_on_several_devices(config: RunConfig) -> Problem | None:
    """Rule 28: what trains layer by layer or a part at a time knows one device only."""
    if not _several_processes():
        return None
    if updates_in_backward(config) and not config.use_badam:
        setting = next((n for n in ("galore_layerwise", "apollo_layerwise") if _on(config, n)), "")
        return Problem(
            "Updates layer by layer work on one device, but this run was started on several.",
            hint="Start it without the launcher, or switch the layer-wise update off.",
            setting=setting or "optim",
        )
    if config.use_badam:
        return Problem(
            f"BAdam in {config.badam_mode} mode works on one device, but this run was started on "
            "several.",
            hint="Start it without the launcher.",
            setting="use_badam",
        )
    return None


def not_under_deepspeed(config: RunConfig) -> Problem | None:
    """Rule 29: DeepSpeed brings its own optimiser, so gradients can't be projected.

    The key `deepspeed` itself is refused while it is read; this is for its launcher.
    """
    wants = "use_galore" if config.use_galore else "use_apollo" if config.use_apollo else ""
    if wants and os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return Problem(
            f"{_NAMES[wants]} does not work under DeepSpeed.",
            hint="Start the run without it.",
            setting=wants,
        )
    return None


def family_is_installed(config: RunConfig) -> Problem | None:
    """Rule 32: the package behind a switch."""
    for name in families(config):
        need = FAMILY_NEEDS[name]
        if what_it_lacks(name, "cuda"):
            return Problem(
                f"{_NAMES[name]} needs the package {need.module}, which is not installed.",
                hint=f"Install it with: {need.install}",
                setting=name,
            )
    return None


def family_fits_the_optimiser(config: RunConfig) -> Problem | None:
    """Rule 43: what GaLore, APOLLO and BAdam can be built on."""
    if config.use_galore and config.optim not in _GALORE_BASES:
        return Problem(
            f"GaLore works with AdamW, 8-bit AdamW and Adafactor, not with {config.optim}.",
            hint="Set optim: adamw_torch, adamw_8bit or adafactor.",
            setting="optim",
        )
    if config.use_apollo and config.optim not in _PLAIN_ADAMW:
        return Problem(
            f"APOLLO works with adamw_torch, not with {config.optim}.",
            hint="Set optim: adamw_torch.",
            setting="optim",
        )
    if config.use_badam:
        layer = config.badam_mode == "layer"
        if config.optim not in (_BADAM_BASES if layer else _PLAIN_ADAMW):
            return Problem(
                f"BAdam in {config.badam_mode} mode does not work with {config.optim}.",
                hint="Set optim: adamw_torch.",
                setting="optim",
            )
    return None


def layerwise_steps_at_once(config: RunConfig) -> Problem | None:
    """Rule 43: an update inside the backward pass can't wait for further micro-batches."""
    if updates_in_backward(config) and config.gradient_accumulation_steps > 1:
        return Problem(
            f"{_layerwise_name(config)} updates the weights inside each backward pass, so "
            "gradients can't be accumulated.",
            hint="Set gradient_accumulation_steps: 1 and a larger micro-batch.",
            setting="gradient_accumulation_steps",
        )
    return None


def layerwise_fits_the_stage(config: RunConfig) -> Problem | None:
    """PPO sums a gradient up over its own micro-batches; fp16 scales it before it can be seen."""
    if not updates_in_backward(config):
        return None
    if config.stage == "ppo":
        return Problem(
            f"{_layerwise_name(config)} updates the weights inside each backward pass, and PPO "
            "needs several of them for one update.",
            hint="Switch the layer-wise update off, or choose grpo.",
            setting="stage",
        )
    if config.fp16:
        return Problem(
            f"{_layerwise_name(config)} can't be used with fp16, whose gradients are scaled until "
            "the step.",
            hint="Set bf16: true, or switch the layer-wise update off.",
            setting="fp16",
        )
    return None


def apollo_sides_fit(config: RunConfig) -> Problem | None:
    """With one step size a channel, the projection must leave the channels (the longer side)."""
    sided = config.apollo_proj_type != "std" and config.apollo_scale_type == "channel"
    if config.use_apollo and sided and config.apollo_target.strip() == "all":
        return Problem(
            f"apollo_proj_type {config.apollo_proj_type} projects the channels of some layers "
            "away, so they can't have step sizes of their own.",
            hint="Set apollo_proj_type: std, or apollo_scale_type: tensor.",
            setting="apollo_proj_type",
        )
    return None


def badam_switches_after_steps(config: RunConfig) -> Problem | None:
    """An interval of 0 steps never comes round."""
    if config.use_badam and config.badam_mode == "layer" and config.badam_switch_interval == 0:
        return Problem(
            "BAdam can't change its block every 0 steps.",
            hint="Set badam_switch_interval to 50, or to −1 to stay with one block.",
            setting="badam_switch_interval",
        )
    return None


def _on(config: Any, name: str) -> bool:
    return bool(getattr(config, name))


def _several_processes() -> bool:
    """Whether a launcher started this process as one of several."""
    try:
        return int(os.environ.get("WORLD_SIZE", "1")) > 1
    except ValueError:
        return False


def _layerwise_name(config: Any) -> str:
    if config.use_galore:
        return "Layer-wise GaLore"
    return "Layer-wise APOLLO" if config.use_apollo else str(config.optim)


RULES = (
    ("13", saving_needs_whole_weights),
    ("o80", one_family),
    ("o81", adam_mini_needs_whole_weights),
    ("o82", lora_plus_needs_groups),
    ("28", not_on_several_devices),
    ("29", not_under_deepspeed),
    ("32", family_is_installed),
    ("43", family_fits_the_optimiser),
    ("43", layerwise_steps_at_once),
    ("o83", layerwise_fits_the_stage),
    ("o84", apollo_sides_fit),
    ("o86", badam_switches_after_steps),
)


def projection_without_pure_bf16(config: RunConfig) -> Problem | None:
    """Remark w2: with weights and gradients in fp32 most of what they save is lost."""
    if (config.use_galore or config.use_apollo) and not config.pure_bf16:
        name = "GaLore" if config.use_galore else "APOLLO"
        return Problem(
            f"{name} without pure_bf16 keeps weights and gradients in fp32, twice the memory.",
            hint="Set pure_bf16: true where the device multiplies bf16.",
            setting="pure_bf16",
        )
    return None


def nothing_is_clipped(config: RunConfig) -> Problem | None:
    """The length of the whole gradient is known only when all layers have been updated."""
    if updates_in_backward(config) and config.max_grad_norm > 0:
        return Problem(
            f"{_layerwise_name(config)} updates each layer before the whole gradient is known, so "
            "max_grad_norm shortens nothing.",
            setting="max_grad_norm",
        )
    return None


REMARKS = (projection_without_pure_bf16, nothing_is_clipped)
