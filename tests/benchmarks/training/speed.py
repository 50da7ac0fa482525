"""Tokens a second of SFT on a CPU: TRL's trainer as it comes, and the forms of ours.

    python tests/benchmarks/training/speed.py [--rounds 6] [--threads 2] [--batch 4]

The demo model, LoRA rank 8 on all linear layers, the bundled identity rows. All variants train on
the same micro-batches in turn (forward, backward, clipping, optimiser), so that whatever else the
machine does hits them alike; the table gives medians of real tokens a second, and the median of
the paired ratios to TRL with its quartiles. `cpu` counts the process's own CPU seconds instead of
the clock: it stands still while a neighbour has the core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

VARIANTS = ("trl", "padded", "end to end, sdpa", "end to end, rows", "end to end, shared prefix")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        steppers, rows = prepare(Path(folder), options.batch)
        walls: dict[str, list[float]] = {name: [] for name in VARIANTS}
        cpus: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for number in range(options.rounds + 1):
            begin = number * options.batch % (len(rows) - options.batch)
            batch = [rows[i] for i in range(begin, begin + options.batch)]
            tokens = sum(len(row["input_ids"]) for row in batch)
            order = VARIANTS[number % 5 :] + VARIANTS[: number % 5]
            for name in order:
                wall, cpu = time.perf_counter(), time.process_time()
                steppers[name](batch)
                if number:  # the first round warms up
                    walls[name].append(tokens / (time.perf_counter() - wall))
                    cpus[name].append(tokens / (time.process_time() - cpu) * options.threads)
    print(f"{'variant':28}{'tok/s':>8}{'tok/s cpu':>11}{'ratio':>8}   quartiles")
    for name in VARIANTS:
        ratios = sorted(a / b for a, b in zip(walls[name], walls["trl"], strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        print(
            f"{name:28}{statistics.median(walls[name]):8.0f}{statistics.median(cpus[name]):11.0f}"
            f"{middle:8.2f}   {low:.2f} … {high:.2f}"
        )


def prepare(folder: Path, batch: int) -> tuple[dict[str, Any], Any]:
    """A function a variant that trains one micro-batch, and the encoded rows."""
    import trl
    from transformers import PrinterCallback
    from trl import SFTConfig

    from engine.config import defaults_for_form
    from engine.datasets import Encoder
    from engine.datasets import prepare as prepare_rows
    from engine.models import choose_precision, load_model, load_tokenizer, resolve
    from engine.runs.session import JobSession
    from engine.training import attention
    from engine.training.arguments import training_arguments
    from engine.training.checkpoints_write import CheckpointWriter
    from engine.training.collate import EndToEnd, Padded
    from engine.training.dataset import to_dataset
    from engine.training.methods import apply_method
    from engine.training.stages.sft import SFT_ARGUMENTS
    from engine.training.stop import Gate
    from engine.training.trainer import SftTrainer

    config = replace(
        defaults_for_form(), use_cpu=True, bf16=False, per_device_train_batch_size=batch
    )
    where = resolve("demo", config, progress=lambda *_: None).path
    rows = prepare_rows(config, Encoder(where, config)).train
    tokenizer = load_tokenizer(where)
    precision = choose_precision(config, "cpu")
    arguments = training_arguments(
        SFTConfig, config, folder, precision, "cpu", checkpointing=False, **SFT_ARGUMENTS
    )
    session = JobSession("speed", None, lambda event: None)
    shared = {"args": arguments, "processing_class": tokenizer, "train_dataset": to_dataset(rows)}

    def model() -> Any:
        return apply_method(load_model(where, config, precision, "cpu", True), config, precision)

    theirs = trl.SFTTrainer(model=model(), **shared)
    theirs.remove_callback(PrinterCallback)
    ours = SftTrainer(
        model=model(),
        gate=Gate(session),
        writer=CheckpointWriter(folder, session, keep=None, threads=1, elapsed=lambda: 0.0),
        **shared,
    )
    pad = tokenizer.pad_token_id
    forms = {
        "trl": (theirs, theirs.data_collator, "sdpa"),
        "padded": (ours, Padded(pad), "sdpa"),
        "end to end, sdpa": (ours, EndToEnd(by_rows=False), "sdpa"),
        "end to end, rows": (ours, EndToEnd(share_prefix=False), attention.register()),
        "end to end, shared prefix": (ours, EndToEnd(), attention.NAME),
    }
    for trainer in (theirs, ours):
        trainer.create_optimizer_and_scheduler(100)
        trainer.current_gradient_accumulation_steps = 1

    def stepper(trainer: Any, collate: Any, name: str) -> Any:
        def step(batch_rows: list[dict[str, Any]]) -> None:
            import torch

            trainer.model.set_attn_implementation(name)
            batch = collate(batch_rows)
            count = trainer._get_num_items_in_batch([batch], torch.device("cpu"))
            trainer.training_step(trainer.model, batch, count)
            torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
            trainer.optimizer.step()
            trainer.model.zero_grad()

        return step

    return {name: stepper(*form) for name, form in forms.items()}, rows


if __name__ == "__main__":
    main()
