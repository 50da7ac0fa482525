"""Peak memory of a PPO run: policy, reference, value head and reward on one base, or on two.

    python tests/benchmarks/training/ppo_memory.py

The demo model in fp32 on a CPU with a LoRA adapter, one step of two answers of 16 tokens, every run
in a process of its own. `weights` are the bytes of all parameters that are alive at the end of the
step, `peak` is the process's high-water mark. sft is there to compare with. The reward model is a
random one, as an adapter with a head, and merged into a whole model.

Measured, weights and peak in MiB: sft 522, 1244; ppo with a reward function 522, 1247, with a
reward adapter 532, 1259, with a whole reward model 1036, 1691.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
SHARED = {
    "model_name_or_path": "demo",
    "dataset": "identity",
    "do_train": True,
    "cutoff_len": 64,
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "use_cpu": True,
    "bf16": False,
    "memory_reserve_gb": 0,
    "disable_gradient_checkpointing": True,
}
PPO = {"stage": "ppo", "ppo_epochs": 1, "max_new_tokens": 16}
RUNS: dict[str, dict[str, Any]] = {
    "sft": {"stage": "sft"},
    "ppo, reward function": {**PPO, "reward_funcs": "length"},
    "ppo, reward adapter": {**PPO, "reward_model": "ADAPTER"},
    "ppo, whole reward model": {**PPO, "reward_model": "WHOLE", "reward_model_type": "full"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.make:
        make_rewards(Path(options.make))
    elif options.one:
        measure(json.loads(options.one))
    else:
        compare()


def compare() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "--make", folder], check=True)
        print(f"{'run':28}{'weights MiB':>13}{'peak MiB':>10}")
        for name, changes in RUNS.items():
            named = {
                key: f"{folder}/{value.lower()}" if value in ("ADAPTER", "WHOLE") else value
                for key, value in changes.items()
            }
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(named)],
                check=True,
                capture_output=True,
                text=True,
            )
            weights, peak = json.loads(done.stdout.splitlines()[-1])
            print(f"{name:28}{weights:13.0f}{peak:10.0f}", flush=True)


def make_rewards(folder: Path) -> None:
    import shutil

    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    from engine.models import demo_folder

    base = AutoModelForSequenceClassification.from_pretrained(
        str(demo_folder()), num_labels=1, dtype="float32"
    )
    base.config.pad_token_id = base.config.eos_token_id
    described = LoraConfig(task_type="SEQ_CLS", r=8, target_modules="all-linear")
    model = get_peft_model(base, described)
    model.save_pretrained(str(folder / "adapter"))
    model.merge_and_unload().save_pretrained(str(folder / "whole"))
    for file in demo_folder().glob("tokenizer*"):
        shutil.copy(file, folder / "whole" / file.name)


def measure(changes: dict[str, Any]) -> None:
    """Run one job and print its figures."""
    import gc
    import resource

    import torch

    from engine.config import read_flat
    from engine.runs.session import JobSession
    from engine.training import run_training
    from engine.training.callbacks import RunCallback

    found: list[float] = []
    original = RunCallback.on_step_end

    def on_step_end(self: Any, *args: Any, **kwargs: Any) -> None:
        alive = {
            weight.data_ptr(): weight.numel() * weight.element_size()
            for weight in gc.get_objects()
            if isinstance(weight, torch.nn.Parameter)
        }
        found.append(sum(alive.values()) / MIB)
        original(self, *args, **kwargs)

    RunCallback.on_step_end = on_step_end  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        flat = {**SHARED, "dataset_dir": str(ROOT / "data"), **changes}
        session = JobSession("memory", Path(folder) / "run", lambda _: None)
        run_training(read_flat(flat, "benchmark").config, session)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([found[-1], peak]))


if __name__ == "__main__":
    main()
