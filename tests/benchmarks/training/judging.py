"""Tokens a second of the reward model's and of KTO's step on a CPU: TRL's trainers, and ours.

    python tests/benchmarks/training/judging.py [--rounds 3] [--threads 2] [--batch 2]
        [--cutoff 256] [--stages rm kto]

The demo model, LoRA rank 8 on all linear layers, fp32, the bundled preference and feedback sets.
All variants of a stage train on the same micro-batches in turn (reference where there is one,
forward, backward, clipping, optimiser), so that whatever else the machine does hits them alike; the
table gives medians of real tokens a second (the prompt counted for each answer; KTO's mismatched
answers not counted), the same by the process's own CPU seconds, and the median of the paired ratios
to TRL by CPU seconds.
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

VARIANTS = ("trl", "padded", "shared")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--cutoff", type=int, default=256)
    parser.add_argument("--stages", nargs="+", choices=("rm", "kto"), default=["rm", "kto"])
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    print(f"{'stage':8}{'variant':10}{'tok/s':>8}{'tok/cpu s':>11}{'ratio':>8}")
    for stage in options.stages:
        with tempfile.TemporaryDirectory() as folder:
            measure(stage, Path(folder), options)


def measure(stage: str, folder: Path, options: argparse.Namespace) -> None:
    bench = Bench(stage, folder, options)
    steppers = {name: bench.stepper(name) for name in VARIANTS}
    walls: dict[str, list[float]] = {name: [] for name in VARIANTS}
    cpus: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for number in range(options.rounds + 1):
        begin = number * options.batch % (len(bench.rows) - options.batch)
        batch = [bench.rows[i] for i in range(begin, begin + options.batch)]
        turn = number % len(VARIANTS)
        losses = {}
        for name in VARIANTS[turn:] + VARIANTS[:turn]:
            wall, cpu = time.perf_counter(), time.process_time()
            losses[name] = steppers[name](batch)
            if number:  # the first round warms up
                tokens = real_tokens(batch)
                walls[name].append(tokens / (time.perf_counter() - wall))
                cpus[name].append(tokens / (time.process_time() - cpu))
        told = ", ".join(f"{name} {losses[name]:.4f}" for name in VARIANTS)
        print(f"{stage} round {number}: losses {told}", file=sys.stderr)
    for name in VARIANTS:
        ratio = statistics.median(a / b for a, b in zip(cpus[name], cpus["trl"], strict=True))
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        print(f"{stage:8}{name:10}{wall:8.0f}{cpu:11.0f}{ratio:8.2f}", flush=True)


def real_tokens(batch: list[dict[str, Any]]) -> int:
    answers = ("chosen_ids", "rejected_ids", "completion_ids")
    return sum(len(r["prompt_ids"]) + len(r[name]) for r in batch for name in answers if name in r)


class Bench:
    """One stage's model, rows and trainers."""

    def __init__(self, stage: str, folder: Path, options: argparse.Namespace) -> None:
        from engine.config import defaults_for_form
        from engine.datasets import Encoder
        from engine.datasets import prepare as prepare_rows
        from engine.models import choose_precision, load_tokenizer, resolve
        from engine.runs.session import JobSession
        from engine.training.dataset import to_dataset
        from engine.training.feedback import with_neighbours

        self.stage, self.folder = stage, folder
        self.config = replace(
            defaults_for_form(),
            stage=stage,
            dataset={"rm": "preference", "kto": "feedback"}[stage],
            cutoff_len=options.cutoff,
            use_cpu=True,
            bf16=False,
            lora_dropout=0.0,
            per_device_train_batch_size=options.batch,
        )
        self.where = resolve("demo", self.config, progress=lambda *_: None).path
        self.rows = to_dataset(prepare_rows(self.config, Encoder(self.where, self.config)).train)
        if stage == "kto":
            self.rows = with_neighbours(self.rows)
        self.tokenizer = load_tokenizer(self.where)
        self.precision = choose_precision(self.config, "cpu")
        self.session = JobSession("speed", None, lambda event: None)

    def stepper(self, variant: str) -> Any:
        """A function that trains one micro-batch and returns its loss."""
        trainer = self._theirs() if variant == "trl" else self._ours(variant == "shared")
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

    def _model(self) -> Any:
        import torch

        from engine.models import load_model
        from engine.training.methods import apply_method

        torch.manual_seed(0)
        head: Any = "score" if self.stage == "rm" else "language"
        model = load_model(self.where, self.config, self.precision, "cpu", True, head)
        torch.manual_seed(0)
        return apply_method(model, self.config, self.precision)

    def _arguments(self, **more: Any) -> Any:
        import trl

        from engine.training.arguments import training_arguments

        kind = trl.RewardConfig if self.stage == "rm" else trl.KTOConfig
        return training_arguments(
            kind, self.config, self.folder, self.precision, "cpu", False, max_length=None, **more
        )

    def _theirs(self) -> Any:
        import trl

        base: Any = trl.RewardTrainer if self.stage == "rm" else trl.KTOTrainer

        class Theirs(base):  # as it comes, for rows that are tokens already
            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset

        trainer = Theirs(
            model=self._model(),
            args=self._arguments(),
            processing_class=self.tokenizer,
            train_dataset=self.rows,
        )
        collate = trainer.data_collator
        if self.stage == "rm":

            def whole(rows: list[dict[str, Any]]) -> Any:
                names = ("chosen_ids", "rejected_ids")
                return collate([{n: [*r["prompt_ids"], *r[n]] for n in names} for r in rows])
        else:

            def whole(rows: list[dict[str, Any]]) -> Any:
                others = [rows[-1], *rows[:-1]]
                pairs = zip(rows, others, strict=True)
                return collate([{**r, "KL_completion_ids": o["completion_ids"]} for r, o in pairs])

        trainer.data_collator = whole
        return trainer

    def _ours(self, shared: bool) -> Any:
        from engine.training import attention
        from engine.training.checkpoints_write import CheckpointWriter
        from engine.training.stop import Gate

        model = self._model()
        model.set_attn_implementation(attention.register() if shared else "sdpa")
        options = {
            "model": model,
            "processing_class": self.tokenizer,
            "train_dataset": self.rows,
            "gate": Gate(self.session),
            "writer": CheckpointWriter(
                self.folder, self.session, keep=None, threads=1, elapsed=lambda: 0.0
            ),
        }
        pad = self.tokenizer.pad_token_id
        if self.stage == "rm":
            from engine.training.pair_batches import PaddedPairs, SharedPrompts
            from engine.training.scoring_pairs import ScoredPairs, ScoreTrainer

            form = SharedPrompts() if shared else PaddedPairs(pad)
            return ScoreTrainer(
                args=self._arguments(disable_dropout=False),
                data_collator=ScoredPairs(form),
                **options,
            )
        from engine.training.collate import EndToEnd, Padded
        from engine.training.feedback import FeedbackRows, FeedbackTrainer, Kto
        from engine.training.references import Reference

        longest = max(self.rows["length"])
        return FeedbackTrainer(
            args=self._arguments(loss_type="apo_zero_unpaired"),
            collate=FeedbackRows(EndToEnd() if shared else Padded(pad), longest),
            loss=Kto(),
            reference=Reference(),
            **options,
        )


if __name__ == "__main__":
    main()
