"""Longer contexts, attention kernels, boosters, and number formats beyond bf16."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.installed import install_command
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

_SECTION = "Context and kernels"
# The stages whose losses add the balancing loss of a mixture of experts.
BALANCED_STAGES = ("pt", "sft", "dpo", "kto")
# The stages that may begin with a model that knows nothing yet.
SCRATCH_STAGES = ("pt", "sft", "rm", "distill")
# Attention by name -> the package that brings it, and how one installs it.
FLASH = {
    "fa2": ("flash_attn", "pip install flash-attn --no-build-isolation"),
    "fa3": (
        "flash_attn_interface",
        "build hopper/ of github.com/Dao-AILab/flash-attention with `python setup.py install`",
    ),
}
_OWN_LOSSES = ("cross_entropy", "fused_linear_cross_entropy")


def _liger(config: Any) -> bool:
    return bool(config.enable_liger_kernel)


def _fp8(config: Any) -> bool:
    return bool(config.fp8)


def _full(config: Any) -> bool:
    return config.finetuning_type == "full" or bool(config.train_from_scratch)


def _balanced(config: Any) -> bool:
    return config.stage in BALANCED_STAGES or config.moe_aux_loss_coef is not None


@group
class ComputingGroup:
    """RoPE scaling, shifted attention, boosters, FP8."""

    rope_scaling: Literal["linear", "dynamic", "yarn", "llama3"] | None = setting(
        None,
        label="RoPE scaling",
        section=_SECTION,
        level="basic",
        help="Reads rows longer than the model was trained on, by spreading its positions: the "
        "factor is cutoff_len ÷ trained length, rounded up.",
        usual="empty; yarn or linear where rows are longer than the model's context",
        goes_with=("cutoff_len",),
    )
    enable_liger_kernel: bool = setting(
        False,
        label="Liger kernels",
        section=_SECTION,
        level="basic",
        help="Fused Triton kernels for norms, rotary positions and feed-forward layers: less "
        "memory and faster steps on a GPU.",
        usual="on where there is a GPU and the package",
        goes_with=("flash_attn", "liger_kernel_config"),
        needs="liger",
    )
    liger_kernel_config: dict[str, Any] | None = setting(
        None,
        label="Liger options",
        section=_SECTION,
        help="Which of Liger's kernels are used, such as {rope: false}; empty means all but its "
        "losses, as finetui computes the loss at trained tokens only.",
        usual="empty",
        goes_with=("enable_liger_kernel",),
        applies=_liger,
    )
    use_unsloth_gc: bool = setting(
        False,
        label="Checkpoints in CPU memory",
        section=_SECTION,
        help="Keeps what gradient checkpointing saves in the machine's memory instead of the "
        "GPU's: room for longer rows, for a little time.",
        usual="off; on for long rows",
        goes_with=("disable_gradient_checkpointing", "cutoff_len"),
    )
    fp8: bool = setting(
        False,
        label="FP8",
        section=_SECTION,
        help="Multiplies matrices in 8-bit floating point; needs a GPU that does (Ada, Hopper or "
        "newer).",
        usual="off; on for full fine-tuning of large models on Hopper",
        goes_with=("fp8_backend", "bf16"),
        needs="fp8",
    )
    fp8_backend: Literal["auto", "torchao"] = setting(
        "auto",
        label="FP8 by",
        section=_SECTION,
        help="The library that does it; auto takes torchao, the only one here.",
        usual="auto",
        goes_with=("fp8",),
        applies=_fp8,
    )
    upcast_layernorm: bool = setting(
        False,
        label="Norms in fp32",
        section=_SECTION,
        help="Holds the weights of the norms in fp32 and computes them so.",
        usual="off; on for quantised models",
        goes_with=("quantization_bit", "bf16"),
    )
    upcast_lmhead_output: bool = setting(
        False,
        label="Head in fp32",
        section=_SECTION,
        help="Multiplies the output head in fp32, so that logits are not rounded to 16 bits; "
        "costs an fp32 copy of the head while it computes.",
        usual="off",
        goes_with=("bf16",),
    )
    moe_aux_loss_coef: float | None = setting(
        None,
        label="Router balance",
        section=_SECTION,
        help="Weight of the loss that keeps the experts of a mixture equally busy; empty takes "
        "the model's own, 0 switches it off.",
        higher="experts are used more evenly",
        lower="the router follows the rows more freely",
        usual="empty, or 0.001 … 0.01",
        applies=_balanced,
        ge=0,
    )
    train_from_scratch: bool = setting(
        False,
        label="From random weights",
        section=_SECTION,
        help="Begins with random weights in the model's shape instead of its trained ones.",
        usual="off",
        goes_with=("finetuning_type", "stage"),
        applies=_full,
    )
    print_param_status: bool = setting(
        False,
        label="List the weights",
        section=_SECTION,
        help="Writes every weight's shape, number type, device and whether it is trained into "
        "the run's log.",
        usual="off",
    )


def on_cpu(config: Any) -> bool:
    """Whether the settings themselves choose the CPU."""
    return bool(config.use_cpu) or config.device == "cpu"


def kernels_need_a_gpu(config: RunConfig) -> Problem | None:
    """What only runs on a GPU is asked for together with the CPU."""
    if not on_cpu(config):
        return None
    wanted = {
        "flash_attn": config.flash_attn in FLASH,
        "enable_liger_kernel": config.do_train and config.enable_liger_kernel,
        "fp8": config.do_train and config.fp8,
        "use_unsloth_gc": config.do_train and config.use_unsloth_gc,
    }
    why = {
        "flash_attn": f"flash_attn: {config.flash_attn} is a kernel for NVIDIA GPUs",
        "enable_liger_kernel": "Liger's kernels are written in Triton, for GPUs",
        "fp8": "FP8 is multiplied by GPUs (Ada, Hopper or newer) only",
        "use_unsloth_gc": "use_unsloth_gc moves activations out of a GPU's memory",
    }
    name = next((name for name, asked in wanted.items() if asked), None)
    if name is None:
        return None
    instead = "set flash_attn: auto" if name == "flash_attn" else f"switch {name} off"
    return Problem(
        f"{why[name]}, but the run is set to the CPU.",
        hint=f"Run it on a GPU, or {instead}.",
        setting=name,
    )


def kernel_packages_are_there(config: RunConfig) -> Problem | None:
    """Rule 32, for attention kernels, Liger and FP8."""
    name = config.flash_attn
    if name in FLASH:
        package, command = FLASH[name]
        if find_spec(package) is None:
            return Problem(
                f"flash_attn: {name} needs the package {package}, which is not installed.",
                hint=f"Install it: {command}; or set flash_attn: auto.",
                setting="flash_attn",
            )
    if not config.do_train:
        return None  # the boosters below are of training
    if config.enable_liger_kernel and find_spec("liger_kernel") is None:
        return Problem(
            "enable_liger_kernel needs the package liger-kernel, which is not installed.",
            hint=f"Install it with: {install_command('liger')}",
            setting="enable_liger_kernel",
        )
    if config.fp8 and find_spec("torchao") is None:
        return Problem(
            "fp8 needs the package torchao, which is not installed.",
            hint=f"Install it with: {install_command('fp8')}",
            setting="fp8",
        )
    return None


def flash_needs_sixteen_bits(config: RunConfig) -> Problem | None:
    """FlashAttention has no fp32."""
    fp32 = config.bf16 is False and not config.fp16 and not config.pure_bf16
    if config.flash_attn in FLASH and fp32:
        return Problem(
            f"flash_attn: {config.flash_attn} computes in 16 bits only, but bf16 is off (fp32).",
            hint="Leave bf16 empty, or set flash_attn: auto.",
            setting="flash_attn",
        )
    return None


def liger_leaves_the_loss(config: RunConfig) -> Problem | None:
    """Liger's losses would take the place of finetui's, which reads trained positions only."""
    options = config.liger_kernel_config or {}
    asked = [name for name in _OWN_LOSSES if options.get(name)]
    if config.enable_liger_kernel and asked:
        return Problem(
            f"liger_kernel_config switches {asked[0]} on, but finetui computes the loss itself, "
            "at trained tokens only.",
            hint=f"Leave {asked[0]} out: memory is saved all the same.",
            setting="liger_kernel_config",
        )
    return None


def fp8_stands_on_bf16(config: RunConfig) -> Problem | None:
    """What is not multiplied in FP8 is computed in bf16."""
    if config.fp8 and (config.fp16 or config.bf16 is False):
        other = "fp16 is on" if config.fp16 else "bf16 is off"
        return Problem(
            f"fp8 computes everything but the large products in bf16, but {other}.",
            hint="Leave bf16 and fp16 empty, or switch fp8 off.",
            setting="fp8",
        )
    return None


def scratch_trains_everything(config: RunConfig) -> Problem | None:
    """Random weights that stay frozen, or that are compared with themselves, teach nothing."""
    if not config.train_from_scratch or not config.do_train:
        return None
    if config.finetuning_type != "full":
        return Problem(
            f"train_from_scratch begins with random weights, and {config.finetuning_type} would "
            "leave most of them as they are.",
            hint="Set finetuning_type: full, or switch train_from_scratch off.",
            setting="train_from_scratch",
        )
    if config.stage not in SCRATCH_STAGES or config.use_asft_loss:
        what = "use_asft_loss" if config.use_asft_loss else f"stage {config.stage}"
        return Problem(
            f"{what} starts from what a model can do already, and random weights can do nothing.",
            hint="Train from scratch with stage: pt or sft first.",
            setting="train_from_scratch",
        )
    return None


def upcast_norms_are_not_rounded_back(config: RunConfig) -> Problem | None:
    """pure_bf16 holds trained weights in bf16, the norms among them."""
    if config.upcast_layernorm and config.pure_bf16 and config.finetuning_type != "lora":
        return Problem(
            "upcast_layernorm holds the norms in fp32, but pure_bf16 holds every trained weight "
            "in bf16.",
            hint="Set bf16: true instead of pure_bf16, or switch upcast_layernorm off.",
            setting="upcast_layernorm",
        )
    return None


def balance_is_part_of_the_loss(config: RunConfig) -> Problem | None:
    """Only some stages' losses have a place for it."""
    if config.moe_aux_loss_coef is not None and config.stage not in BALANCED_STAGES:
        return Problem(
            f"moe_aux_loss_coef adds to the loss of the stages {', '.join(BALANCED_STAGES)}, not "
            f"to that of {config.stage}.",
            hint="Leave moe_aux_loss_coef empty.",
            setting="moe_aux_loss_coef",
        )
    return None


def offloading_needs_checkpoints(config: RunConfig) -> Problem | None:
    """There is nothing to move out of the GPU's memory where every activation is kept."""
    if config.use_unsloth_gc and config.disable_gradient_checkpointing:
        return Problem(
            "use_unsloth_gc moves the checkpoints of activations, but "
            "disable_gradient_checkpointing makes none.",
            hint="Switch one of the two off.",
            setting="use_unsloth_gc",
        )
    return None


RULES: tuple[tuple[str, Any], ...] = (
    ("o40", kernels_need_a_gpu),
    ("32", kernel_packages_are_there),
    ("o41", flash_needs_sixteen_bits),
    ("o42", liger_leaves_the_loss),
    ("o43", fp8_stands_on_bf16),
    ("o44", scratch_trains_everything),
    ("o45", upcast_norms_are_not_rounded_back),
    ("o46", balance_is_part_of_the_loss),
    ("o47", offloading_needs_checkpoints),
)
CHAT_RULES: tuple[tuple[str, Any], ...] = (
    ("o40", kernels_need_a_gpu),
    ("32", kernel_packages_are_there),
)


def trains_without_mixed_precision(config: RunConfig) -> Problem | None:
    """w2, its second part: fp32 was asked for where a GPU may do better."""
    fp32 = config.bf16 is False and not config.fp16 and not config.pure_bf16
    if config.do_train and fp32 and not on_cpu(config):
        return Problem(
            "bf16 is off, so the run trains in fp32, without mixed precision.",
            hint="On a GPU leave bf16 empty: a step is then several times faster, in half the "
            "memory.",
            setting="bf16",
        )
    return None


def dynamic_positions_move(config: RunConfig) -> Problem | None:
    """Dynamic scaling changes with the length of each batch, so training sees several scales."""
    if config.rope_scaling == "dynamic" and config.do_train:
        return Problem(
            "rope_scaling: dynamic scales positions by the longest row of each batch, so short "
            "and long batches are trained at different scales.",
            hint="yarn or linear keep one scale throughout.",
            setting="rope_scaling",
        )
    return None


REMARKS: tuple[Any, ...] = (trains_without_mixed_precision, dynamic_positions_move)
