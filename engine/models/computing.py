"""How a model computes: its attention kernel, the scaling of its positions, fused kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models import rope
from engine.models.attention_choice import Attention, choose
from engine.models.boosters import apply_fp8, apply_liger, check_boosters
from engine.models.load_problems import model_problem
from engine.models.precision import choose_precision
from engine.problem import BadInput, Problem


@dataclass(frozen=True)
class Computing:
    """How a model will compute, settled before it is loaded.

    `options` are what `from_pretrained` is told, `rope` how its positions are scaled (None: as they
    come), `notes` the sentences that a person is told.
    """

    options: dict[str, Any]
    attention: Attention
    rope: rope.Scaling | None
    notes: tuple[str, ...]


def plan_computing(
    folder: Path,
    config: Any,
    device: str,
    for_training: bool,
    adapters: Sequence[Path] = (),
) -> Computing:
    """Settle how the model in `folder` computes on `device`, under these adapters.

    Imports transformers, and torch for a GPU. Raises BadInput for what can't run here: before any
    weight is read.
    """
    whole = _described(folder, bool(config.trust_remote_code))
    text = whole.get_text_config()
    capability = _capability(device)
    precision = choose_precision(config, device, for_training=for_training)
    attention = choose(
        config.flash_attn,
        device,
        capability,
        precision.compute_bytes == 2,
        getattr(text, "head_dim", None),
        _takes(whole, text),
    )
    notes = [attention.line]
    options: dict[str, Any] = {"attn_implementation": attention.name}
    found, told = _positions(text, config, for_training, adapters, folder)
    notes += [told] if told else []
    if found is not None:
        options |= rope.options(text, whole, found)
    if for_training:
        check_boosters(config, device, capability, str(whole.model_type))
        _check_experts(config, text)
    return Computing(options, attention, found, tuple(notes))


def ready_to_compute(model: Any, config: Any, for_training: bool, plan: Computing) -> None:
    """Change a loaded model, in place, so that it computes as planned."""
    from engine.models.upcast import head_in_fp32, upcast_norms

    model.finetui_computing = plan
    if config.upcast_layernorm:
        upcast_norms(model)
    if config.upcast_lmhead_output:
        head_in_fp32(model)
    if not for_training:
        return
    if config.moe_aux_loss_coef is not None:
        # TRL's trainers, and finetui's on them, read both here.
        text = model.config.get_text_config()
        text.output_router_logits = config.moe_aux_loss_coef > 0
        text.router_aux_loss_coef = config.moe_aux_loss_coef
    if config.enable_liger_kernel:
        apply_liger(model, config.liger_kernel_config)
    if config.fp8:
        apply_fp8(model)
    if plan.rope is not None:
        rope.forget_lengths(model)


def computing_notes(model: Any) -> tuple[str, ...]:
    """The sentences about how a loaded model computes."""
    plan: Computing | None = getattr(model, "finetui_computing", None)
    return plan.notes if plan else ()


def from_scratch(kind: Any, folder: Path, options: dict[str, Any], device: str) -> Any:
    """A model of the shape in `folder` with random weights, drawn from torch's random state.

    `options` are those that `from_pretrained` would be given.
    """
    from transformers import AutoConfig, GenerationConfig

    of_model = ("dtype", "attn_implementation", "trust_remote_code")
    of_loading = (*of_model, "use_safetensors", "device_map", "local_files_only")
    described = AutoConfig.from_pretrained(
        str(folder),
        local_files_only=True,
        trust_remote_code=options["trust_remote_code"],
        **{key: value for key, value in options.items() if key not in of_loading},
    )
    model = kind.from_config(described, **{key: options[key] for key in of_model})
    if (folder / "generation_config.json").is_file() and model.can_generate():
        model.generation_config = GenerationConfig.from_pretrained(str(folder))
    return model.to(device)


def _positions(
    text: Any, config: Any, for_training: bool, adapters: Sequence[Path], folder: Path
) -> tuple[rope.Scaling | None, str]:
    """The scaling of positions, and the sentence about it.

    What an adapter was trained with wins, as long as it reaches far enough.
    """
    stored = rope.stored_scaling(adapters)
    kind = config.rope_scaling
    far_enough = stored is not None and (
        not for_training or not kind or (config.cutoff_len or 0) <= stored.context
    )
    if stored is not None and far_enough:
        return stored, stored.why
    if kind is None:
        return None, ""
    found = rope.scaling(text, kind, for_training, config.cutoff_len, str(folder))
    if isinstance(found, str):
        return None, found
    return found, found.why


def _described(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(model_problem(error, folder)) from error


def _takes(whole: Any, text: Any) -> dict[str, bool]:
    """Which kernels the architecture's class takes; all where it isn't known."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    known = [
        auto._model_mapping[type(whole)]
        for auto in (AutoModelForCausalLM, AutoModelForImageTextToText)
        if type(whole) in auto._model_mapping
    ]
    capped = getattr(text, "attn_logit_softcapping", None) is not None
    return {
        # PyTorch's kernel leaves the capping of scores out.
        "sdpa": not capped and (not known or bool(known[0]._supports_sdpa)),
        "flash": not known or bool(known[0]._supports_flash_attn),
    }


def _capability(device: str) -> tuple[int, int] | None:
    if device == "cpu":
        return None
    import torch

    if torch.version.hip is not None:
        return (8, 0)  # AMD counts otherwise; FlashAttention-2 is what its packages bring
    major, minor = torch.cuda.get_device_capability(torch.device(device))
    return major, minor


def _check_experts(config: Any, text: Any) -> None:
    if config.moe_aux_loss_coef and not hasattr(text, "router_aux_loss_coef"):
        raise BadInput(
            Problem(
                "moe_aux_loss_coef balances the experts of a mixture, and this model has none.",
                "moe_aux_loss_coef",
                "Leave moe_aux_loss_coef empty.",
                "moe_aux_loss_coef",
            )
        )
