"""The forecast against the memory that a run of the demo model really takes, in a new process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "training" / "memory.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    described = importlib.util.spec_from_file_location("memory_benchmark", BENCHMARK)
    assert described is not None and described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules[described.name] = module
    described.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' own counters")
@pytest.mark.parametrize(
    "changes",
    [{"finetuning_type": "full"}, {}, {"quantization_bit": 4}],
    ids=["full", "lora", "lora on 4 bits"],
)
def test_within_fifteen_percent_of_the_peak(
    changes: dict[str, Any], benchmark: ModuleType, tmp_path: Path
) -> None:
    from engine.problem import BadInput

    try:
        told = benchmark.compare(tmp_path, "demo", {**benchmark.KEPT, **changes}, 256)
    except BadInput as fault:
        pytest.skip(f"the demo model can't be fetched here: {fault}")
    assert told["forecast"] == pytest.approx(told["measured"], rel=0.15)
