"""Optimisers that hold less than two numbers a weight, and LoRA+: their settings."""

from __future__ import annotations

from typing import Any, Literal

from engine.config.declare import group, setting

_SECTION = "Memory-saving optimisers"


def _whole(config: Any) -> bool:
    return config.finetuning_type in ("full", "freeze")


def _galore(config: Any) -> bool:
    return bool(config.use_galore)


def _apollo(config: Any) -> bool:
    return bool(config.use_apollo)


def _badam(config: Any) -> bool:
    return bool(config.use_badam)


def _badam_layer(config: Any) -> bool:
    return bool(config.use_badam and config.badam_mode == "layer")


def _badam_ratio(config: Any) -> bool:
    return bool(config.use_badam and config.badam_mode == "ratio")


def _lora(config: Any) -> bool:
    return bool(config.finetuning_type == "lora")


def _lora_plus(config: Any) -> bool:
    return bool(config.finetuning_type == "lora" and config.loraplus_lr_ratio is not None)


def _projects_by_name(config: Any) -> bool:
    return str(config.optim).startswith(("galore_", "apollo_"))


@group
class OptimiserFamilyGroup:
    """GaLore, APOLLO, BAdam, Adam-mini, Muon, LoRA+."""

    use_galore: bool = setting(
        False,
        label="GaLore",
        section=_SECTION,
        help="Trains all weights while the optimiser sees each gradient through a few of its main "
        "directions only, so its state is small.",
        usual="off; on for full fine-tuning that does not fit",
        goes_with=("galore_rank", "pure_bf16", "optim"),
        applies=_whole,
        needs="galore",
    )
    galore_target: str = setting(
        "all",
        label="GaLore targets",
        section=_SECTION,
        help="The linear layers whose gradients are projected, as a comma list of names; all means "
        "every one in the blocks.",
        usual="all",
        goes_with=("galore_rank",),
        applies=_galore,
    )
    galore_rank: int = setting(
        16,
        label="GaLore rank",
        section=_SECTION,
        help="How many directions of each gradient are kept.",
        higher="follows the gradient more closely; larger state",
        lower="smaller state; learns less a step",
        usual="16 … 512",
        goes_with=("galore_update_interval", "galore_scale"),
        applies=_galore,
        ge=1,
    )
    galore_update_interval: int = setting(
        200,
        label="GaLore interval",
        section=_SECTION,
        unit="steps",
        help="After so many steps the directions are chosen anew, by a decomposition of the "
        "gradient.",
        higher="less time spent on it; old directions",
        lower="fresher directions; each renewal takes time",
        usual="50 … 1000",
        goes_with=("galore_rank",),
        applies=_galore,
        ge=1,
    )
    galore_scale: float = setting(
        2.0,
        label="GaLore scale",
        section=_SECTION,
        help="Multiplies the projected updates, like a learning rate of their own.",
        higher="larger updates of the projected layers",
        lower="smaller updates of them",
        usual="0.25 … 2",
        goes_with=("learning_rate", "galore_rank"),
        applies=_galore,
        gt=0,
    )
    galore_proj_type: Literal["std", "reverse_std", "right", "left", "full"] = setting(
        "std",
        label="GaLore projection",
        section=_SECTION,
        help="Which side of a gradient is projected: std the shorter one, reverse_std the longer "
        "one, right or left always that one, full both.",
        usual="std",
        goes_with=("galore_rank",),
        applies=_galore,
    )
    galore_layerwise: bool = setting(
        False,
        label="GaLore layer by layer",
        section=_SECTION,
        help="Updates each layer as soon as its gradient is there and frees it, so that only one "
        "gradient is held at a time.",
        usual="off; on where gradients don't fit, with accumulation 1",
        goes_with=("gradient_accumulation_steps",),
        applies=_galore,
    )
    use_apollo: bool = setting(
        False,
        label="APOLLO",
        section=_SECTION,
        help="Trains all weights with step sizes estimated from a small random projection of each "
        "gradient.",
        usual="off; on for full fine-tuning that does not fit",
        goes_with=("apollo_rank", "pure_bf16"),
        applies=_whole,
        needs="apollo",
    )
    apollo_target: str = setting(
        "all",
        label="APOLLO targets",
        section=_SECTION,
        help="The linear layers whose gradients are projected, as a comma list of names; all means "
        "every one in the blocks.",
        usual="all",
        goes_with=("apollo_rank",),
        applies=_apollo,
    )
    apollo_rank: int = setting(
        16,
        label="APOLLO rank",
        section=_SECTION,
        help="The width of the projection from which step sizes are estimated.",
        higher="a closer estimate; larger state",
        lower="smaller state; 1 is APOLLO-Mini, with scale type tensor",
        usual="16 … 256",
        goes_with=("apollo_scale", "apollo_update_interval"),
        applies=_apollo,
        ge=1,
    )
    apollo_update_interval: int = setting(
        200,
        label="APOLLO interval",
        section=_SECTION,
        unit="steps",
        help="After so many steps a new projection is drawn.",
        higher="keeps one projection longer",
        lower="changes it more often",
        usual="50 … 1000",
        goes_with=("apollo_rank",),
        applies=_apollo,
        ge=1,
    )
    apollo_scale: float = setting(
        32.0,
        label="APOLLO scale",
        section=_SECTION,
        help="Updates of projected layers are multiplied by the root of this.",
        higher="larger updates of the projected layers",
        lower="smaller updates of them",
        usual="1 with a rank of a quarter of the width; 32 … 128 with small ranks",
        goes_with=("learning_rate", "apollo_rank"),
        applies=_apollo,
        gt=0,
    )
    apollo_proj: Literal["svd", "random"] = setting(
        "random",
        label="APOLLO directions",
        section=_SECTION,
        help="random draws the projection, svd takes the gradient's main directions, which takes "
        "time.",
        usual="random",
        goes_with=("apollo_rank",),
        applies=_apollo,
    )
    apollo_proj_type: Literal["std", "right", "left"] = setting(
        "std",
        label="APOLLO projection",
        section=_SECTION,
        help="Which side of a gradient is projected: std the shorter one, right or left always "
        "that one.",
        usual="std",
        goes_with=("apollo_scale_type",),
        applies=_apollo,
    )
    apollo_scale_type: Literal["channel", "tensor"] = setting(
        "channel",
        label="APOLLO scale type",
        section=_SECTION,
        help="Whether each channel of a layer has a step size of its own, or the layer one.",
        usual="channel; tensor with rank 1",
        goes_with=("apollo_rank",),
        applies=_apollo,
    )
    apollo_layerwise: bool = setting(
        False,
        label="APOLLO layer by layer",
        section=_SECTION,
        help="Updates each layer as soon as its gradient is there and frees it, so that only one "
        "gradient is held at a time.",
        usual="off; on where gradients don't fit, with accumulation 1",
        goes_with=("gradient_accumulation_steps",),
        applies=_apollo,
    )
    apollo_scale_front: bool = setting(
        False,
        label="APOLLO scale first",
        section=_SECTION,
        help="Applies the scale before the limit on how fast an update may grow, instead of after "
        "it.",
        usual="off",
        goes_with=("apollo_scale",),
        applies=_apollo,
    )
    use_badam: bool = setting(
        False,
        label="BAdam",
        section=_SECTION,
        help="Trains a part of the weights at a time, block after block, so that gradients and "
        "state of one part are held.",
        usual="off; on for full fine-tuning that does not fit",
        goes_with=("badam_mode", "pure_bf16"),
        applies=_whole,
        needs="badam",
    )
    badam_mode: Literal["layer", "ratio"] = setting(
        "layer",
        label="BAdam mode",
        section=_SECTION,
        help="layer trains one block after the other; ratio trains a share of each matrix.",
        usual="layer",
        goes_with=("badam_switch_interval", "badam_update_ratio"),
        applies=_badam,
    )
    badam_start_block: int | None = setting(
        None,
        label="First block",
        section=_SECTION,
        help="The block that is trained first, counted from 0.",
        usual="empty: the first, or the last when descending",
        goes_with=("badam_switch_mode",),
        applies=_badam_layer,
        ge=0,
    )
    badam_switch_mode: Literal["ascending", "descending", "random", "fixed"] | None = setting(
        "ascending",
        label="Order of blocks",
        section=_SECTION,
        help="The order in which blocks are trained; fixed stays with the first.",
        usual="ascending or random",
        goes_with=("badam_switch_interval",),
        applies=_badam_layer,
    )
    badam_switch_interval: int | None = setting(
        50,
        label="Steps a block",
        section=_SECTION,
        unit="steps",
        help="After so many steps the next block is trained; −1 never changes.",
        higher="learns each block longer; fewer blocks get their turn",
        lower="all blocks get their turn; the optimiser's memory is lost more often",
        usual="all steps ÷ (blocks × 2), or 50 … 100 in long runs",
        goes_with=("badam_switch_mode", "max_steps"),
        applies=_badam_layer,
        ge=-1,
    )
    badam_update_ratio: float = setting(
        0.05,
        label="BAdam ratio",
        section=_SECTION,
        help="The share of each matrix that is trained at a time.",
        higher="learns more a step; larger state",
        lower="smaller state",
        usual="0.01 … 0.1",
        goes_with=("badam_mask_mode",),
        applies=_badam_ratio,
        gt=0,
        le=1,
    )
    badam_mask_mode: Literal["adjacent", "scatter"] = setting(
        "adjacent",
        label="BAdam mask",
        section=_SECTION,
        help="Whether the trained share of a matrix lies together, or scattered over it.",
        usual="adjacent",
        goes_with=("badam_update_ratio",),
        applies=_badam_ratio,
    )
    badam_verbose: int = setting(
        0,
        label="BAdam log",
        section=_SECTION,
        help="What the run's log says of it: 0 nothing, 1 the block at each change, 2 its tensors "
        "too.",
        usual="0",
        applies=_badam,
        ge=0,
        le=2,
    )
    use_adam_mini: bool = setting(
        False,
        label="Adam-mini",
        section=_SECTION,
        help="Adam with one step size a head or row instead of one a weight: about half of Adam's "
        "state.",
        usual="off; on for full fine-tuning that nearly fits",
        goes_with=("learning_rate",),
        applies=_whole,
        needs="adam-mini",
    )
    use_muon: bool = setting(
        False,
        label="Muon",
        section=_SECTION,
        help="Trains the matrices inside the model with updates of equal strength in every "
        "direction, and the rest with AdamW; half of Adam's state.",
        usual="off; on for full fine-tuning with much data",
        goes_with=("learning_rate", "weight_decay"),
    )
    loraplus_lr_ratio: float | None = setting(
        None,
        label="LoRA+ ratio",
        section="LoRA variants",
        help="LoRA+: the second matrix (B) of each adapter learns so many times faster than the "
        "first.",
        higher="learns faster; may swing",
        lower="nearer to plain LoRA; 1 is plain LoRA",
        usual="empty, or 4 … 16",
        goes_with=("learning_rate", "loraplus_lr_embedding"),
        applies=_lora,
        gt=0,
    )
    loraplus_lr_embedding: float = setting(
        1e-6,
        label="LoRA+ embedding rate",
        section="LoRA variants",
        help="LoRA+: the learning rate of adapters on embeddings.",
        higher="embeddings learn faster",
        lower="embeddings hardly move",
        usual="1e-6",
        goes_with=("loraplus_lr_ratio",),
        applies=_lora_plus,
        gt=0,
    )
    optim_target_modules: str | None = setting(
        None,
        label="Projected modules",
        section=_SECTION,
        help="The linear layers that an optimiser named galore_… or apollo_… projects: names by "
        "comma, a regular expression, or all-linear.",
        usual="all-linear",
        goes_with=("optim", "optim_args"),
        applies=_projects_by_name,
    )
