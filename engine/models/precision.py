"""Which number formats a job computes in: chosen by the hardware, overruled by the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.telemetry import Machine, cpu_flags

Weights = Literal["bf16", "fp16", "fp32"]

_CPU_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# Ampere is the first NVIDIA generation that multiplies bf16.
_CUDA_BF16 = (8, 0)
_INFER: dict[str, Weights] = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}


@dataclass(frozen=True)
class Precision:
    """`weights` is what frozen weights are held in, `trained` what trained ones and their
    optimiser state are, `autocast` what matrices are multiplied in (None: as they are held).

    `name` is for the screen and logs. `notes` are sentences a person should read.
    """

    weights: Weights
    trained: Literal["fp32", "bf16"]
    autocast: Literal["bf16", "fp16"] | None
    name: str
    notes: tuple[str, ...] = ()

    @property
    def weight_bytes(self) -> int:
        return _BYTES[self.weights]

    @property
    def trained_bytes(self) -> int:
        return _BYTES[self.trained]

    @property
    def compute_bytes(self) -> int:
        """Bytes of one number of an activation."""
        return _BYTES[self.autocast or self.weights]


def choose_precision(
    config: Any, device: str, *, for_training: bool = True, stored_dtype: str = ""
) -> Precision:
    """The precision for a job on `device` ("cpu", "cuda:0"). Imports torch only for a GPU.

    `stored_dtype` is the type in the model's config, for the warning about fp16.
    """
    return decide(config, device, bf16_in_hardware(device), for_training, stored_dtype)


def bf16_in_hardware(device: str) -> bool:
    """Whether the device multiplies bf16 matrices itself (others emulate it, slowly)."""
    if device == "cpu":
        return bool(_CPU_BF16 & cpu_flags())
    import torch

    if torch.version.hip is not None:
        return bool(torch.cuda.is_bf16_supported())
    return torch.cuda.get_device_capability(torch.device(device)) >= _CUDA_BF16


def expected_precision(config: Any, machine: Machine, device: str) -> Precision:
    """What `choose_precision` will say, told without torch, for forecasts."""
    has_bf16 = machine.cpu_bf16
    if device != "cpu":
        index = int(device.partition(":")[2] or 0)
        cards = machine.gpus
        capability = cards[index].capability if index < len(cards) else None
        has_bf16 = capability is None or capability >= _CUDA_BF16
    return decide(config, device, has_bf16, True, "")


def decide(
    config: Any, device: str, has_bf16: bool, for_training: bool, stored_dtype: str
) -> Precision:
    """The rule itself, free of any machine."""
    if not for_training:
        return _for_inference(config, device, has_bf16, stored_dtype)
    notes = []
    if config.pure_bf16:
        if not has_bf16:
            notes.append(_slow_bf16(device))
        return Precision("bf16", "bf16", None, "pure bf16", tuple(notes))
    kind: Weights
    if config.bf16:
        kind = "bf16"
    elif config.fp16:
        kind = "fp16"
    elif config.bf16 is False:
        kind = "fp32"
    elif has_bf16:
        kind = "bf16"
    elif device != "cpu" and config.fp16 is None:
        kind = "fp16"
    else:
        kind = "fp32"
    if kind == "bf16" and not has_bf16:
        if device == "cpu":
            # Nearly every published file says bf16: true. Emulated, a step was seen to take thirty
            # times as long; pure_bf16 is there for whoever means it.
            notes.append(
                "This processor has no bf16 arithmetic, and emulating it takes many times longer: "
                "the run computes in fp32."
            )
            kind = "fp32"
        else:
            notes.append(_slow_bf16(device))
    if kind == "fp16":
        notes.extend(_fp16_notes(device, stored_dtype))
    if kind == "fp32":
        return Precision("fp32", "fp32", None, "fp32", tuple(notes))
    # In full fine-tuning every weight is trained, so all are held in fp32.
    held: Weights = "fp32" if config.finetuning_type == "full" else kind
    return Precision(held, "fp32", kind, kind, tuple(notes))


def _for_inference(config: Any, device: str, has_bf16: bool, stored_dtype: str) -> Precision:
    asked = _INFER.get(str(config.infer_dtype))
    kind: Weights
    if asked is not None:
        kind = asked
    elif has_bf16:
        kind = "bf16"
    else:
        kind = "fp32" if device == "cpu" or stored_dtype == "float32" else "fp16"
    notes: list[str] = []
    if kind == "bf16" and not has_bf16:
        notes.append(_slow_bf16(device))
    if kind == "fp16":
        notes.extend(_fp16_notes(device, stored_dtype))
    return Precision(kind, "fp32", None, kind, tuple(notes))


def _slow_bf16(device: str) -> str:
    where = "This processor" if device == "cpu" else "This GPU"
    return f"{where} has no bf16 arithmetic: bf16 is emulated, and slower than fp32."


def _fp16_notes(device: str, stored_dtype: str) -> list[str]:
    notes = []
    if stored_dtype == "bfloat16":
        notes.append(
            "The model was trained in bf16 and runs in fp16, whose range is smaller: "
            "a loss of NaN is possible. If it comes, set bf16: false (fp32)."
        )
    if device == "cpu":
        notes.append("fp16 on a CPU is slow; fp32 is the usual choice there.")
    return notes


def torch_dtype(name: str) -> Any:
    """torch's type for "bf16", "fp16" or "fp32"."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]
