"""Quantised weights on a CPU: their file is let go, and what they free is given back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import RunConfig
from engine.models import load_model
from engine.models.mapped import exact_memory
from engine.models.precision import Precision

MIB = 1 << 20


def mapped(folder: Path) -> bool:
    return str(folder) in Path("/proc/self/maps").read_text("utf-8")


@pytest.mark.parametrize("bits", [4, 8])
def test_the_file_of_quantised_weights_is_let_go(
    bits: int, save_llama: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save_llama(tmp_path / "model", dtype="bfloat16", hidden_size=64)
    config = RunConfig(use_cpu=True)
    precision = Precision("bf16", "fp32", "bf16", "bf16")
    plain = load_model(folder, config, precision, "cpu", True)
    assert mapped(folder)
    embedded = plain.get_input_embeddings().weight.detach().clone()
    del plain
    gc.collect()
    assert not mapped(folder)
    packed = load_model(folder, replace(config, quantization_bit=bits), precision, "cpu", True)
    assert not mapped(folder)
    assert packed.get_input_embeddings().weight.equal(embedded)


def resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def grown_by_holes() -> int:
    """Bytes that are resident more after tensors of one size were freed between kept ones."""
    import torch

    before = resident()
    kept, passing = [], []
    for _ in range(40):
        passing.append(torch.ones(MIB))  # 4 MiB
        kept.append(torch.ones(MIB // 2))
    passing.clear()
    after = resident() - before - 40 * 2 * MIB
    del kept
    return after


def test_what_is_freed_between_kept_tensors_is_given_back() -> None:
    import torch

    torch.ones(8 * MIB)  # freed at once: glibc's threshold is beyond those below from here on
    found: list[int] = []

    def measure() -> None:
        with exact_memory():
            found.append(grown_by_holes())
        found.append(grown_by_holes())

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    exact, usual = found
    assert exact < 20 * MIB < usual


def test_it_may_be_entered_within_itself_and_switched_off() -> None:
    with exact_memory(), exact_memory(False):
        pass
    with exact_memory():
        with exact_memory():
            pass
        assert grown_by_holes() < 20 * MIB
