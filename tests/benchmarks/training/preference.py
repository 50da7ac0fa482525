"""Tokens a second of DPO on a CPU: TRL's trainer as it comes, and the two layouts of ours.

    python tests/benchmarks/training/preference.py [--rounds 4] [--threads 2] [--batch 2]
        [--cutoff 256] [--dataset preference] [--folder DIR]

The demo model, LoRA rank 8 on all linear layers, fp32. All variants train on the same micro-batches
in turn (reference, forward, backward, clipping, optimiser), so that whatever else the machine does
hits them alike; the table gives medians of real tokens a second (a prompt counted for each of its
answers), the same by the process's own CPU seconds, and the median of the paired ratios to TRL by
CPU seconds. ORPO and SimPO are compared with their trainers in TRL by the same loss only (tests);
here they show what the missing reference saves.
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

VARIANTS = ("trl", "padded", "shared prompts", "shared prompts, simpo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--cutoff", type=int, default=256)
    parser.add_argument("--dataset", default="preference")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        steppers, rows = prepare(Path(folder), options)
        walls: dict[str, list[float]] = {name: [] for name in VARIANTS}
        cpus: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for number in range(options.rounds + 1):
            begin = number * options.batch % (len(rows) - options.batch)
            batch = [rows[i] for i in range(begin, begin + options.batch)]
            tokens = sum(
                2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"])
                for r in batch
            )
            turn = number % len(VARIANTS)
            losses = {}
            for name in VARIANTS[turn:] + VARIANTS[:turn]:
                wall, cpu = time.perf_counter(), time.process_time()
                losses[name] = steppers[name](batch)
                if number:  # the first round warms up
                    walls[name].append(tokens / (time.perf_counter() - wall))
                    cpus[name].append(tokens / (time.process_time() - cpu))
            told = ", ".join(f"{name} {losses[name]:.4f}" for name in VARIANTS)
            print(f"round {number}: {tokens} tokens, losses {told}", file=sys.stderr)
    print(f"{'variant':24}{'tok/s':>8}{'tok/cpu s':>11}{'ratio':>8}")
    for name in VARIANTS:
        ratio = statistics.median(a / b for a, b in zip(cpus[name], cpus["trl"], strict=True))
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        print(f"{name:24}{wall:8.0f}{cpu:11.0f}{ratio:8.2f}")


def prepare(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """A function a variant that trains one micro-batch and returns its loss, and the rows."""
    import trl
    from peft import LoraConfig
    from transformers import PrinterCallback

    from engine.config import defaults_for_form
    from engine.datasets import Encoder
    from engine.datasets import prepare as prepare_rows
    from engine.models import choose_precision, load_model, load_tokenizer, resolve
    from engine.runs.session import JobSession
    from engine.training import attention
    from engine.training.arguments import training_arguments
    from engine.training.checkpoints_write import CheckpointWriter
    from engine.training.dataset import to_dataset
    from engine.training.losses.preference import Preference
    from engine.training.methods import apply_method
    from engine.training.pair_batches import PaddedPairs, SharedPrompts
    from engine.training.pairs import PairTrainer
    from engine.training.references import Reference
    from engine.training.stop import Gate

    config = replace(
        defaults_for_form(),
        stage="dpo",
        dataset=options.dataset,
        **({"dataset_dir": options.folder} if options.folder else {}),
        cutoff_len=options.cutoff,
        use_cpu=True,
        bf16=False,
        lora_dropout=0.0,
        per_device_train_batch_size=options.batch,
    )
    where = resolve("demo", config, progress=lambda *_: None).path
    rows = prepare_rows(config, Encoder(where, config)).train
    tokenizer = load_tokenizer(where)
    precision = choose_precision(config, "cpu")
    session = JobSession("speed", None, lambda event: None)
    shared = {
        "args": training_arguments(
            trl.DPOConfig, config, folder, precision, "cpu", False, max_length=None
        ),
        "processing_class": tokenizer,
        "train_dataset": to_dataset(rows),
    }

    class Theirs(trl.DPOTrainer):  # as it comes, for rows that are tokens already
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    def ours(name: str, collate: Any, loss: str = "sigmoid") -> PairTrainer:
        model = load_model(where, config, precision, "cpu", True)
        model.set_attn_implementation(name)
        preference = Preference(loss)
        return PairTrainer(
            model=apply_method(model, config, precision),
            collate=collate,
            preference=preference,
            reference=Reference() if preference.needs_reference else None,
            gate=Gate(session),
            writer=CheckpointWriter(folder, session, keep=None, threads=1, elapsed=lambda: 0.0),
            **shared,
        )

    theirs = Theirs(
        model=load_model(where, config, precision, "cpu", True),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"),
        **shared,
    )
    theirs.remove_callback(PrinterCallback)
    rows_name = attention.register()
    trainers = {
        "trl": theirs,
        "padded": ours("sdpa", PaddedPairs(tokenizer.pad_token_id)),
        "shared prompts": ours(rows_name, SharedPrompts()),
        "shared prompts, simpo": ours(rows_name, SharedPrompts(), "simpo"),
    }

    def stepper(trainer: Any) -> Any:
        trainer.create_optimizer_and_scheduler(100)
        trainer.current_gradient_accumulation_steps = 1

        def step(batch_rows: list[dict[str, Any]]) -> float:
            import torch

            loss = trainer.training_step(trainer.model, trainer.data_collator(batch_rows))
            torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
            trainer.optimizer.step()
            trainer.model.zero_grad()
            return float(loss)

        return step

    return {name: stepper(trainer) for name, trainer in trainers.items()}, rows


if __name__ == "__main__":
    main()
