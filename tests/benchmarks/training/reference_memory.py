"""Peak memory of preference runs: what the reference model costs beside the trained one.

    python tests/benchmarks/training/reference_memory.py [--cutoff 64]

The demo model in fp32 on a CPU, two steps of one pair each, every run in a process of its own.
`weights` are the bytes of all parameters that are alive in the last step, `peak` is the process's
high-water mark (with about half a GiB of libraries). sft is there to compare with.

Measured at a cutoff of 64, weights and peak in MiB: sft lora 522, 1277; dpo lora 522, 1276 (with
another `ref_model` as large 1036, 1865); simpo lora 522, 1232; kto lora 522, 1256; dpo freeze 513,
1232 (1026, 1819 with a second model instead of the trained blocks' beginning); simpo freeze 513,
1232.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
RUNS = {
    "sft, lora": {"stage": "sft", "dataset": "identity"},
    "dpo, lora": {"pref_loss": "sigmoid"},
    "simpo, lora": {"pref_loss": "simpo"},
    "kto, lora": {"stage": "kto", "dataset": "feedback"},
    "dpo, freeze": {"pref_loss": "sigmoid", "finetuning_type": "freeze"},
    "simpo, freeze": {"pref_loss": "simpo", "finetuning_type": "freeze"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cutoff", type=int, default=64)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(json.loads(options.one), options.cutoff)
        return
    print(f"{'run':28}{'weights MiB':>13}{'peak MiB':>10}")
    for name, changes in RUNS.items():
        child = [sys.executable, __file__, "--cutoff", str(options.cutoff)]
        done = subprocess.run(
            [*child, "--one", json.dumps(changes)], check=True, capture_output=True, text=True
        )
        weights, peak = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:28}{weights:13.0f}{peak:10.0f}", flush=True)


def measure(changes: dict[str, str], cutoff: int) -> None:
    """Run one job and print its figures."""
    import gc
    import resource

    sys.path.insert(0, str(ROOT))
    import torch
    from transformers import TrainerCallback

    from engine.config import read_flat
    from engine.runs.session import JobSession
    from engine.training import run_training
    from engine.training.callbacks import RunCallback

    found: list[float] = []

    def on_step_end(self: TrainerCallback, *args: object, **kwargs: object) -> None:
        alive = {
            weight.data_ptr(): weight.numel() * weight.element_size()
            for weight in gc.get_objects()
            if isinstance(weight, torch.nn.Parameter)
        }
        found.append(sum(alive.values()) / MIB)
        original(self, *args, **kwargs)

    original = RunCallback.on_step_end
    RunCallback.on_step_end = on_step_end
    flat = {
        "model_name_or_path": "demo",
        "dataset": "preference",
        "dataset_dir": str(ROOT / "data"),
        "stage": "dpo",
        "finetuning_type": "lora",
        "do_train": True,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "cutoff_len": cutoff,
        "max_steps": 2,
        "use_cpu": True,
        "bf16": False,
        "memory_reserve_gb": 0,
        **changes,
    }
    with tempfile.TemporaryDirectory() as folder:
        run_training(read_flat(flat, "bench").config, JobSession("m", Path(folder), lambda _: None))
    print(json.dumps([found[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


if __name__ == "__main__":
    main()
