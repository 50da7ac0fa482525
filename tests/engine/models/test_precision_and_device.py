"""The choice of number formats and of the device, free of any machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.models import device as device_module
from engine.models.device import choose_device, expected_device
from engine.models.precision import choose_precision, decide, expected_precision
from engine.problem import BadInput
from engine.telemetry import GpuReading, Machine, MachineGpu

GIB = 1 << 30


def config(**changes: Any) -> SimpleNamespace:
    values = {
        "bf16": None,
        "fp16": None,
        "pure_bf16": False,
        "finetuning_type": "lora",
        "infer_dtype": "auto",
        "use_cpu": False,
        "device": None,
    }
    return SimpleNamespace(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "device", "hardware", "expected"),
    [
        # (frozen, trained, autocast, name)
        ({}, "cpu", True, ("bf16", "fp32", "bf16", "bf16")),
        ({}, "cpu", False, ("fp32", "fp32", None, "fp32")),
        ({}, "cuda:0", True, ("bf16", "fp32", "bf16", "bf16")),
        ({}, "cuda:0", False, ("fp16", "fp32", "fp16", "fp16")),
        ({"bf16": False}, "cpu", True, ("fp32", "fp32", None, "fp32")),
        ({"bf16": False}, "cuda:0", True, ("fp32", "fp32", None, "fp32")),
        ({"bf16": False}, "cuda:0", False, ("fp32", "fp32", None, "fp32")),
        ({"fp16": False}, "cuda:0", False, ("fp32", "fp32", None, "fp32")),
        ({"fp16": True}, "cuda:0", True, ("fp16", "fp32", "fp16", "fp16")),
        ({"bf16": True}, "cpu", False, ("fp32", "fp32", None, "fp32")),
        ({"pure_bf16": True}, "cuda:0", True, ("bf16", "bf16", None, "pure bf16")),
        ({"finetuning_type": "full"}, "cuda:0", True, ("fp32", "fp32", "bf16", "bf16")),
        ({"finetuning_type": "freeze"}, "cuda:0", True, ("bf16", "fp32", "bf16", "bf16")),
    ],
)
def test_training(
    changes: dict[str, Any], device: str, hardware: bool, expected: tuple[Any, ...]
) -> None:
    chosen = decide(config(**changes), device, hardware, True, "")
    assert (chosen.weights, chosen.trained, chosen.autocast, chosen.name) == expected


def test_bf16_without_hardware_becomes_fp32_or_is_said_to_be_slow() -> None:
    told = decide(config(bf16=True), "cpu", False, True, "")
    assert told.name == "fp32" and "fp32" in told.notes[0]
    for changes in ({"pure_bf16": True},):
        (note,) = decide(config(**changes), "cpu", False, True, "").notes
        assert "slower" in note
    assert decide(config(bf16=True), "cpu", True, True, "").notes == ()


def test_fp16_with_a_model_trained_in_bf16_warns_of_nan() -> None:
    (note,) = decide(config(), "cuda:0", False, True, "bfloat16").notes
    assert "NaN" in note
    assert decide(config(), "cuda:0", False, True, "float16").notes == ()


@pytest.mark.parametrize(
    ("changes", "device", "hardware", "stored", "expected"),
    [
        ({}, "cpu", True, "bfloat16", "bf16"),
        ({}, "cpu", False, "bfloat16", "fp32"),
        ({}, "cuda:0", False, "float16", "fp16"),
        ({}, "cuda:0", False, "float32", "fp32"),
        ({"infer_dtype": "float32"}, "cpu", True, "bfloat16", "fp32"),
        ({"infer_dtype": "bfloat16"}, "cpu", False, "bfloat16", "bf16"),
    ],
)
def test_inference(
    changes: dict[str, Any], device: str, hardware: bool, stored: str, expected: str
) -> None:
    chosen = decide(config(**changes), device, hardware, False, stored)
    assert (chosen.weights, chosen.autocast) == (expected, None)


def test_this_machine_agrees_with_its_forecast() -> None:
    from engine.telemetry import read_machine

    assert choose_precision(config(), "cpu") == expected_precision(config(), read_machine(), "cpu")


def machine(*gpus: MachineGpu) -> Machine:
    return Machine("x", 2, None, False, 8 * GIB, False, gpus, None, None)


def test_expected_precision_follows_the_capability() -> None:
    old = machine(MachineGpu(0, "T4", 16 * GIB, (7, 5)), MachineGpu(1, "A", 24 * GIB, (8, 6)))
    assert expected_precision(config(), old, "cuda:0").name == "fp16"
    assert expected_precision(config(), old, "cuda:1").name == "bf16"


class FakeGpus:
    def __init__(self, *used: int | None) -> None:
        self.used = used

    def read(self) -> tuple[GpuReading, ...]:
        return tuple(
            GpuReading(index, "x", used=used, total=8 * GIB) for index, used in enumerate(self.used)
        )


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: ([1, 5, 3][i] * GIB, 8 * GIB))
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


@pytest.mark.usefixtures("three_gpus")
def test_the_emptiest_gpu_is_taken() -> None:
    assert choose_device(config(), FakeGpus(7 * GIB, 6 * GIB, GIB)) == "cuda:2"
    assert choose_device(config(device="cuda"), FakeGpus(0, 6 * GIB, GIB)) == "cuda:0"
    assert choose_device(config(device="cuda:1"), FakeGpus(0, 6 * GIB, GIB)) == "cuda:1"


@pytest.mark.usefixtures("three_gpus")
def test_torch_is_asked_where_nvml_does_not_tell() -> None:
    assert choose_device(config(), FakeGpus(None, 6 * GIB, GIB)) == "cuda:1"
    assert choose_device(config(), FakeGpus()) == "cuda:1"


@pytest.mark.usefixtures("three_gpus")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(BadInput) as told:
        choose_device(config(device="cuda:3"), FakeGpus(0, 0, 0))
    assert "cuda:0 to cuda:2" in told.value.problem.hint
    assert told.value.problem.setting == "device"


@pytest.mark.usefixtures("three_gpus")
def test_cpu_is_taken_when_asked_for() -> None:
    assert choose_device(config(use_cpu=True), FakeGpus(0)) == "cpu"
    assert choose_device(config(device="cpu"), FakeGpus(0)) == "cpu"


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(config(), FakeGpus()) == "cpu"
    with pytest.raises(BadInput):
        choose_device(config(device="cuda:0"), FakeGpus())
    with pytest.raises(BadInput):
        choose_device(config(device="cuda"), FakeGpus())


@pytest.mark.parametrize("wrong", ["tpu", "cuda:x", "cuda:", "1"])
def test_a_device_that_is_none(wrong: str) -> None:
    with pytest.raises(BadInput) as told:
        choose_device(config(device=wrong), FakeGpus())
    assert wrong in told.value.problem.what


def test_expected_device(monkeypatch: pytest.MonkeyPatch) -> None:
    two = machine(MachineGpu(0, "a", 8 * GIB), MachineGpu(1, "b", 80 * GIB))
    monkeypatch.setattr(device_module, "torch_is_for_cpus", lambda: False)
    assert expected_device(config(), two) == "cuda:1"
    assert expected_device(config(device="cuda:0"), two) == "cuda:0"
    assert expected_device(config(device="cpu"), two) == "cpu"
    assert expected_device(config(), machine()) == "cpu"
    monkeypatch.setattr(device_module, "torch_is_for_cpus", lambda: True)
    assert expected_device(config(), two) == "cpu"
