"""The memory forecast against what a run really takes, each run in a process of its own.

    python tests/benchmarks/training/memory.py [--only demo] [--parts]

Every run trains two steps on rows of one fixed length. `measured` is the highest resident memory
of the process (VmHWM of /proc/self/status: anonymous memory and the mapped pages of weights), on a
GPU torch's own high-water mark with what its allocator keeps; `forecast` is what finetui tells
before anything is loaded, from `config.json`, the settings and the length of the rows.

Three models: the demo (135 M, Llama), a Llama with grouped queries (0.5 B) and a Qwen2 (0.35 B: a
wide vocabulary, biases, tied head), the last two with random weights. `--parts` adds the phases:
after the libraries, after loading, and the peak, split into anonymous and mapped memory.

Measured on two busy cores with bf16 arithmetic, micro-batches of 2 rows of 246 tokens, activations
kept; forecast and measured in MiB:

| model | run | forecast | measured | ratio |
| --- | --- | --- | --- | --- |
| demo | full | 3363 | 3521 | 0.96 |
| demo | lora | 1759 | 1812 | 0.97 |
| demo | lora, 4 bit | 1365 | 1383 | 0.99 |
| llama-0.5b | lora | 3081 | 3042 | 1.01 |
| llama-0.5b | lora, 4 bit | 2126 | 2098 | 1.01 |
| llama-0.5b | full, pure bf16 | 5316 | 5773 | 0.92 |
| qwen2-0.35b | lora | 2693 | 2711 | 0.99 |
| qwen2-0.35b | lora, 4 bit | 2142 | 2175 | 0.98 |
| qwen2-0.35b | full, pure bf16 | 4046 | 4237 | 0.95 |
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
LENGTH = 256
MODELS: dict[str, dict[str, Any]] = {
    "llama-0.5b": {
        "model_type": "llama",
        "hidden_size": 1280,
        "intermediate_size": 3584,
        "num_hidden_layers": 24,
        "num_attention_heads": 20,
        "num_key_value_heads": 4,
        "vocab_size": 49152,
        "tie_word_embeddings": False,
    },
    "qwen2-0.35b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 14,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}
SHARED: dict[str, Any] = {
    "stage": "sft",
    "do_train": True,
    "dataset": "fixed",
    "max_steps": 2,
    "save_strategy": "no",
    "logging_steps": 1,
    "train_sampling_strategy": "sequential",
    "use_cpu": True,
    "memory_reserve_gb": 0,
    "cutoff_len": 2048,
    "per_device_train_batch_size": 2,
}
FULL = {"finetuning_type": "full"}
FOUR = {"quantization_bit": 4}
KEPT = {"disable_gradient_checkpointing": True}
LEAN = {"disable_gradient_checkpointing": False}
RUNS: list[tuple[str, str, dict[str, Any]]] = [
    ("demo", "full", FULL | KEPT),
    ("demo", "lora", KEPT),
    ("demo", "lora, 4 bit", FOUR | KEPT),
    ("demo", "lora, micro-batch 8", KEPT | {"per_device_train_batch_size": 8}),
    ("demo", "lora, checkpointing", LEAN | {"per_device_train_batch_size": 8}),
    ("demo", "lora, fp32", KEPT | {"bf16": False}),
    ("demo", "full, accumulation 2", FULL | KEPT | {"gradient_accumulation_steps": 2}),
    ("demo", "full, pure bf16", FULL | KEPT | {"pure_bf16": True}),
    ("demo", "full, adafactor", FULL | KEPT | {"optim": "adafactor"}),
    ("demo", "freeze", KEPT | {"finetuning_type": "freeze", "freeze_trainable_layers": 8}),
    ("llama-0.5b", "lora", KEPT),
    ("llama-0.5b", "lora, checkpointing", LEAN | {"per_device_train_batch_size": 4}),
    ("llama-0.5b", "lora, 4 bit", FOUR | KEPT),
    ("llama-0.5b", "full, pure bf16", FULL | KEPT | {"pure_bf16": True}),
    ("qwen2-0.35b", "lora", KEPT),
    ("qwen2-0.35b", "lora, 4 bit", FOUR | KEPT),
    ("qwen2-0.35b", "full, pure bf16", FULL | KEPT | {"pure_bf16": True}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="runs whose model or name holds this text")
    parser.add_argument("--parts", action="store_true", help="print the phases too")
    parser.add_argument("--length", type=int, default=LENGTH, help="tokens a row")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.one:
        print(json.dumps(measure(json.loads(options.one))))
        return
    print(f"{'model':14}{'run':24}{'forecast MiB':>13}{'measured MiB':>13}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for model, name, changes in RUNS:
            if options.only in f"{model} {name}":
                told = compare(Path(folder), model, changes, options.length)
                ratio = told["forecast"] / told["measured"]
                print(
                    f"{model:14}{name:24}{told['forecast'] / MIB:13.0f}"
                    f"{told['measured'] / MIB:13.0f}{ratio:7.2f}",
                    flush=True,
                )
                if options.parts:
                    for part in ("predicted", "phases"):
                        line = {k: round(v / MIB) for k, v in told[part].items()}
                        print("   ", part, line, flush=True)


def compare(folder: Path, model: str, changes: dict[str, Any], length: int) -> dict[str, Any]:
    """One run, measured in a process of its own; `folder` keeps models and rows between calls."""
    path = model_of(folder, model)
    data = rows_of(folder, path, length)
    flat = {**SHARED, "model_name_or_path": str(path), "dataset_dir": str(data), **changes}
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps(flat)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def model_of(folder: Path, name: str) -> Path:
    """The demo's folder, or a random model of a shape of `MODELS` with the demo's tokenizer."""
    from engine.models import resolve

    demo = resolve("demo", None).path
    if name == "demo":
        return demo
    path = folder / name
    if not path.exists():
        code = _MAKE.format(values=MODELS[name], demo=str(demo), path=str(path))
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return path


# In a process of its own, as the caller may be a test with little memory.
_MAKE = """
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
torch.manual_seed(0)
values = dict({values})
config = AutoConfig.for_model(values.pop("model_type"), max_position_embeddings=4096, **values)
config.dtype = torch.bfloat16
model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.save_pretrained({path!r})
AutoTokenizer.from_pretrained({demo!r}).save_pretrained({path!r})
"""


def rows_of(folder: Path, model: Path, length: int) -> Path:
    """A dataset folder whose rows have about `length` tokens each, most of them in the answer."""
    data = folder / f"rows-{length}"
    if data.exists():
        return data
    data.mkdir()
    # Each is one token of the demo's vocabulary.
    words = ("time", "year", "day", "way", "man", "world", "life", "hand", "part", "child")
    draw = random.Random(0)
    rows = [
        {
            "instruction": "Say it.",
            "output": " ".join(draw.choice(words) for _ in range(length - 45)),
        }
        for _ in range(96)
    ]
    (data / "fixed.json").write_text(json.dumps(rows), encoding="utf-8")
    registry = {"fixed": {"file_name": "fixed.json"}}
    (data / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return data


class Sampler(threading.Thread):
    """Reads resident memory every 5 ms; `parts` is the split at the highest moment."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.parts: dict[str, int] = {"RssAnon": 0, "RssFile": 0}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.005):
            now = status()
            if now["RssAnon"] + now["RssFile"] > sum(self.parts.values()):
                self.parts = {name: now[name] for name in ("RssAnon", "RssFile")}


def status() -> dict[str, int]:
    """This process's memory in bytes, as the kernel counts it."""
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmHWM", "VmRSS", "RssAnon", "RssFile"):
            found[name] = int(rest.split()[0]) * 1024
    return found


def measure(flat: dict[str, Any]) -> dict[str, Any]:
    """Run one job here; its forecast, its peak, and both in parts."""
    from engine.config import read_flat
    from engine.models import RowFacts, facts_of_rows, forecast, read_card
    from engine.runs.session import JobSession

    config = read_flat(flat, "benchmark").config
    card = read_card(Path(str(config.model_name_or_path)))
    phases: dict[str, int] = {}

    import peft  # noqa: F401
    import transformers  # noqa: F401
    import trl  # noqa: F401

    from engine.training import run_training
    from engine.training.callbacks import RunCallback

    phases["libraries"] = status()["VmRSS"]
    original = RunCallback.on_step_begin
    rows: list[RowFacts] = []

    def on_step_begin(self: Any, *args: Any, **kwargs: Any) -> None:
        if not rows:
            data = self.trainer.train_dataset
            rows.append(facts_of_rows(data, max(data["length"])))
        for name, value in status().items():
            phases.setdefault(f"loaded {name}", value)
        original(self, *args, **kwargs)

    RunCallback.on_step_begin = on_step_begin  # type: ignore[method-assign]
    sampler = Sampler()
    sampler.start()
    with tempfile.TemporaryDirectory() as folder:
        session = JobSession("memory", Path(folder) / "run", lambda _: None)
        # Not in the main thread, as in the program: the allocator keeps its memory another way.
        with ThreadPoolExecutor(1) as engine_thread:
            engine_thread.submit(run_training, config, session).result()
    sampler.ended.set()
    phases |= {f"peak {name}": value for name, value in sampler.parts.items()}
    told = forecast(card, config, rows[0])
    parts = ("weights", "gradients", "optimiser", "activations", "logits", "holes", "runtime")
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu": {"user": used.ru_utime, "system": used.ru_stime},
        "forecast": told.total,
        "measured": status()["VmHWM"],
        "length": rows[0].longest,
        "predicted": {name: getattr(told, name) for name in parts},
        "phases": phases,
    }


if __name__ == "__main__":
    main()
