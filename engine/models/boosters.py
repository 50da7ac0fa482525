"""Fused kernels and FP8 products: checked before a model is loaded, put into it afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from engine.problem import BadInput, Problem

# Ada is the first NVIDIA generation that multiplies FP8 matrices.
_FP8_FROM = (8, 9)


def check_boosters(
    config: Any, device: str, capability: tuple[int, int] | None, model_type: str
) -> None:
    """Raise BadInput for a booster that this device or this architecture can't take."""
    on_gpu = device != "cpu"
    if config.enable_liger_kernel:
        if not on_gpu:
            raise _no_gpu("enable_liger_kernel", "Liger's kernels are written in Triton, for GPUs")
        if model_type not in liger_architectures():
            raise BadInput(
                Problem(
                    f"Liger has no kernels for the architecture {model_type}.",
                    "enable_liger_kernel",
                    "Switch enable_liger_kernel off.",
                    "enable_liger_kernel",
                )
            )
    if config.fp8:
        if not on_gpu:
            raise _no_gpu("fp8", "FP8 is multiplied by GPUs (Ada, Hopper or newer) only")
        if capability is not None and capability < _FP8_FROM:
            raise BadInput(
                Problem(
                    f"This GPU has capability {capability[0]}.{capability[1]} and multiplies no "
                    "FP8: it takes 8.9 (Ada, Hopper or newer).",
                    "fp8",
                    "Switch fp8 off: bf16 is the smallest that it can.",
                    "fp8",
                )
            )
    if config.use_unsloth_gc and not on_gpu:
        raise _no_gpu("use_unsloth_gc", "use_unsloth_gc moves activations out of a GPU's memory")


def liger_architectures() -> frozenset[str]:
    """The values of `model_type` that Liger has kernels for. Imports it, and Triton."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    return frozenset(MODEL_TYPE_TO_APPLY_LIGER_FN)


def liger_options(options: dict[str, Any] | None) -> dict[str, Any]:
    """What Liger is told: its losses stay out, as finetui's read trained positions only.

    Its fused loss would take the place of the model's forward pass, which finetui calls with a
    hook on the head (`engine.models.head`).
    """
    return {**(options or {}), "cross_entropy": False, "fused_linear_cross_entropy": False}


def apply_liger(model: Any, options: dict[str, Any] | None) -> None:
    """Put Liger's kernels (Hsu et al., 2024, arXiv 2410.10989) into a loaded model, in place.

    Liger also exchanges names in the architecture's module, for every model that this process will
    load. They are put back, but for the rotary positions: those are looked up there at each step,
    so their kernel stays, for tensors on a GPU.
    """
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    module = sys.modules[type(model).__module__]
    before = dict(vars(module))
    _apply_liger_kernel_to_instance(model=model, **liger_options(options))
    for name, plain in before.items():
        now = getattr(module, name)
        if now is plain:
            continue
        rotary = name == "apply_rotary_pos_emb"
        setattr(module, name, _on_a_gpu(now, plain) if rotary else plain)


def _on_a_gpu(kernel: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` where the first tensor lies on a GPU, `plain` elsewhere."""
    plain = getattr(plain, "elsewhere", plain)

    @wraps(plain)
    def choose(query: Any, *args: Any, **kwargs: Any) -> Any:
        return (kernel if query.is_cuda else plain)(query, *args, **kwargs)

    choose.elsewhere = plain  # type: ignore[attr-defined]
    return choose


def apply_fp8(model: Any, emulate: bool = False) -> int:
    """Let a model's linear layers multiply in FP8 by torchao, in place; returns how many do.

    The output head and the first layer stay as they are, and so does what is not divisible by 16
    (accelerate's choice, `accelerate.utils.ao`). Weights keep their type and names, so checkpoints
    are those of the model itself. `emulate` computes the same numbers without the hardware.
    """
    from accelerate.utils.ao import convert_model_to_fp8_ao
    from torchao.float8 import Float8LinearConfig
    from torchao.float8.float8_linear import Float8Linear

    # FP8 gathers belong to FSDP, where a weight is spread over several GPUs.
    described = Float8LinearConfig(
        pad_inner_dim=True, enable_fsdp_float8_all_gather=False, emulate=emulate
    )
    convert_model_to_fp8_ao(model, config=described)
    return sum(isinstance(module, Float8Linear) for module in model.modules())


def _no_gpu(setting: str, why: str) -> BadInput:
    return BadInput(
        Problem(
            f"{why}, and this run computes on the CPU.",
            setting,
            f"Run it on a GPU, or switch {setting} off.",
            setting,
        )
    )
