"""Which model, from where, and how its weights are held."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.installed import install_command
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


def _has_adapter(config: Any) -> bool:
    return bool(config.adapter_name_or_path)


@group
class ModelGroup:
    """The model's name and place, precision, memory, device."""

    bf16: bool | None = setting(
        None,
        label="bf16",
        section="Precision and memory",
        level="basic",
        help="Computes in bfloat16: half the memory of fp32 with its range; empty chooses by the "
        "machine, off means fp32.",
        usual="empty: bf16 where the hardware multiplies it",
        goes_with=("fp16", "pure_bf16"),
    )
    fp16: bool | None = setting(
        None,
        label="fp16",
        section="Precision and memory",
        level="basic",
        help="Computes in float16, for GPUs without bf16; overflows (NaN) on models that were "
        "trained in bf16.",
        usual="empty",
        goes_with=("bf16",),
    )
    pure_bf16: bool = setting(
        False,
        label="Pure bf16",
        section="Precision and memory",
        level="basic",
        help="Keeps trained weights and optimiser in bfloat16 too; saves memory, but small "
        "updates round away.",
        usual="off; on when full fine-tuning does not fit otherwise",
        usual_for={"lora": "off: the adapter is small, fp32 costs little"},
        goes_with=("bf16", "learning_rate"),
    )
    disable_gradient_checkpointing: bool = setting(
        False,
        label="Keep activations",
        section="Precision and memory",
        level="basic",
        help="Switches gradient checkpointing off: about a quarter faster a step, for far more "
        "memory.",
        usual="off; on when the memory line leaves room",
        goes_with=("per_device_train_batch_size", "cutoff_len"),
    )
    device: str | None = setting(
        None,
        label="Device",
        section="Precision and memory",
        own=True,
        help="Where the run computes: cpu, cuda or one GPU such as cuda:1; empty takes the "
        "emptiest GPU, or the CPU.",
        usual="empty",
        goes_with=("use_cpu",),
    )
    use_cpu: bool = setting(
        False,
        label="CPU only",
        section="Precision and memory",
        level="hidden",
        help="Computes on the CPU although there is a GPU.",
        goes_with=("device",),
    )
    flash_attn: Literal["auto", "disabled", "sdpa", "fa2", "fa3"] = setting(
        "auto",
        label="Attention",
        section="Precision and memory",
        help="The attention kernel: PyTorch's fused one (sdpa), FlashAttention 2 or 3 (fa2, fa3) "
        "or the plain one (disabled); auto takes the fastest that this machine can run.",
        usual="auto",
        goes_with=("bf16", "enable_liger_kernel"),
    )
    memory_reserve_gb: float = setting(
        0.5,
        label="Memory kept free",
        section="Precision and memory",
        own=True,
        unit="GB",
        help="A run on the CPU is ended, with the reason said, before less than this much of the "
        "machine's memory is left.",
        higher="safer for whatever else runs here; a large run ends earlier",
        lower="lets a run use nearly everything; at 0 there is no watch",
        usual="0.5 … 2",
        ge=0,
    )
    model_name_or_path: str | None = setting(
        None,
        label="Model",
        section="Model",
        help="The model to train: demo, a local folder, or a hub id.",
        goes_with=("model_revision", "template"),
    )
    model_revision: str = setting(
        "main",
        label="Revision",
        section="Model",
        help="The branch, tag or commit of a hub model.",
        usual="main",
        goes_with=("model_name_or_path",),
    )
    hub: Literal["huggingface", "modelscope"] = setting(
        "huggingface",
        label="Hub",
        section="Model",
        own=True,
        help="Where a model that is not on this machine is fetched from; an id may differ between "
        "the two.",
        usual="huggingface; modelscope where that is nearer",
        goes_with=("model_name_or_path", "cache_dir"),
    )
    cache_dir: str | None = setting(
        None,
        label="Download folder",
        section="Model",
        help="Where hub downloads go; empty means the hub's own cache.",
        usual="empty",
    )
    trust_remote_code: bool = setting(
        False,
        label="Trust remote code",
        section="Model",
        help="Lets Python code shipped with the model run on this machine.",
        usual="off; on only for a model whose code you have read",
        goes_with=("model_name_or_path",),
    )
    infer_dtype: Literal["auto", "float16", "bfloat16", "float32"] = setting(
        "auto",
        label="Weights in chat and export",
        section="Model",
        help="The number type of the weights when chatting, evaluating and exporting.",
        usual="auto: as the files have it, where the device multiplies it",
        goes_with=("export_dir",),
    )
    adapter_folder: str | None = setting(
        None,
        label="Subfolder of adapters",
        section="Adapters, advanced",
        help="A folder inside each of the given adapters' folders, where the adapter itself lies.",
        usual="empty",
        goes_with=("adapter_name_or_path",),
        applies=_has_adapter,
    )
    hf_hub_token: str | None = setting(
        None,
        label="Hub token",
        section="Model",
        level="hidden",
        secret=True,
        help="Login to the Hugging Face hub; read and used, never written to a run's folder.",
    )
    ms_hub_token: str | None = setting(
        None,
        label="ModelScope token",
        section="Model",
        level="hidden",
        secret=True,
        help="Login to ModelScope; read and used, never written to a run's folder.",
    )


def model_is_named(config: RunConfig) -> Problem | None:
    """Rule 1."""
    if not (config.model_name_or_path or "").strip():
        return Problem(
            "No model is named.",
            hint="Set model_name_or_path: demo, a local folder, or a hub id.",
            setting="model_name_or_path",
        )
    return None


def one_precision(config: RunConfig) -> Problem | None:
    """At most one of bf16 and fp16 (as the trainer itself has it)."""
    if config.bf16 and config.fp16:
        return Problem(
            "Both bf16 and fp16 are on.",
            hint="Keep bf16 where the hardware has it, fp16 otherwise; empty chooses by itself.",
            setting="fp16",
        )
    return None


def pure_bf16_fits(config: RunConfig) -> Problem | None:
    """Rule 27, the part the settings alone tell (whether the device has bf16 comes later)."""
    if config.pure_bf16 and (config.fp16 or config.bf16 is False):
        other = "fp16 is on" if config.fp16 else "bf16 is off"
        return Problem(
            f"pure_bf16 holds everything in bf16, but {other}.",
            hint="Leave bf16 and fp16 empty, or switch pure_bf16 off.",
            setting="pure_bf16",
        )
    return None


def device_is_one(config: RunConfig) -> Problem | None:
    """`device` names cpu, cuda or one GPU, and doesn't contradict `use_cpu`."""
    if config.device is None:
        return None
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", config.device):
        return Problem(
            f"device is {config.device!r}: expected cpu, cuda, or one GPU such as cuda:1.",
            hint="Leave it empty to take the emptiest GPU, or the CPU.",
            setting="device",
        )
    if config.use_cpu and config.device not in ("cpu", "auto"):
        return Problem(
            f"use_cpu is on, but device is {config.device}.",
            hint="Keep one of the two.",
            setting="device",
        )
    return None


def hub_can_be_asked(config: RunConfig) -> Problem | None:
    """Rule o50: the ModelScope client is an extra; what is on disk needs none, so only a name that
    can't be a folder is asked about."""
    name = (config.model_name_or_path or "").strip()
    if config.hub != "modelscope" or name in ("", "demo") or name.startswith((".", "/", "~")):
        return None
    if find_spec("modelscope_hub") is not None or Path(name).exists():
        return None
    return Problem(
        "The ModelScope hub needs a package that is not installed.",
        where="hub",
        hint=install_command("modelscope"),
        setting="hub",
    )


RULES: tuple[tuple[str, Any], ...] = (
    ("1", model_is_named),
    ("o4", one_precision),
    ("27", pure_bf16_fits),
    ("o5", device_is_one),
    ("o50", hub_can_be_asked),
)
