"""TRL's `KTOTrainer` with finetui's rows, reference, stops and checkpoints.

What differs from TRL's trainer:
- the head multiplies the answers' positions only, on every device (TRL 1.16 takes all positions
  where Triton does not run), and neither entropy, top-1 nor mean logits are computed;
- rows are shuffled: the mismatched answers that the KL term needs are paired inside the
  micro-batch as it is drawn, where TRL pairs once and then may not shuffle. A micro-batch of one
  row borrows the answer of the row before it in the set, where TRL refuses one row;
- `sft_weight` adds the cross-entropy of the desirable answers (`pref_ftx`);
- the reference is `engine.training.references`';
- measures are means over rows, also where the last micro-batch is smaller.

Measured with `tests/benchmarks/training/judging.py` (demo, LoRA on all linear layers, fp32,
micro-batches of two bundled rows, one thread of a busy AVX2 machine), tokens a CPU second and the
median of the paired ratios to TRL's trainer: TRL 23; padded 28 (1.29); end to end 37 (1.64).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from trl import KTOTrainer

from engine.models.head import forward_at
from engine.training.collate import IGNORED
from engine.training.dataset import fetching
from engine.training.references import Reference
from engine.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    import datasets

    from engine.datasets.streaming import StreamedRows
    from engine.training.forms import Collator

NEIGHBOUR = "neighbour_ids"
# Keys of a batch of rows that are not the model's.
_OWN_KEYS = ("labels", "shift_labels", "tokens", "row_of_token")


@dataclass(frozen=True)
class Kto:
    """The settings of the loss (Ethayarajh et al. 2024, arXiv 2402.01306).

    `beta` ties to the reference, the weights are those of desirable and undesirable rows,
    `sft_weight` that of the cross-entropy added for desirable ones.
    """

    beta: float = 0.1
    desirable: float = 1.0
    undesirable: float = 1.0
    sft_weight: float = 0.0

    def losses(self, ratios: torch.Tensor, liked: torch.Tensor, kl: torch.Tensor) -> torch.Tensor:
        """The loss of each row (rows,), equations 7 and 8 of the paper.

        `ratios` (rows,) are log-ratios of whole answers to the reference, `liked` (rows,) tells
        which are desirable, `kl` is the estimated divergence, not below 0 and without a gradient.
        """
        margin = torch.where(liked, ratios - kl, kl - ratios)
        weights = torch.where(liked, self.desirable, self.undesirable)
        return weights * (1 - torch.sigmoid(self.beta * margin))


def with_neighbours(rows: datasets.Dataset, stream: StreamedRows | None = None) -> datasets.Dataset:
    """The rows with the answer of the row before each (of the last one for the first).

    Of a stream it is made for a micro-batch of one row alone: others pair among themselves.
    """
    import datasets

    if stream is not None:
        return rows.with_transform(_with_neighbour(stream))
    table = rows.data.table
    answers = table.column("completion_ids").combine_chunks()
    before = [len(rows) - 1, *range(len(rows) - 1)]
    return datasets.Dataset(table.append_column(NEIGHBOUR, answers.take(before)))


def _with_neighbour(stream: StreamedRows) -> Callable[[dict[str, list[Any]]], dict[str, Any]]:
    fetch = fetching(stream)

    def fetch_both(batch: dict[str, list[Any]]) -> dict[str, Any]:
        found = fetch(batch)
        if len(batch["row"]) == 1:
            found[NEIGHBOUR] = [stream.before(batch["row"][0])["completion_ids"]]
        return found

    return fetch_both


@dataclass(frozen=True)
class FeedbackRows:
    """Feedback rows -> one micro-batch: `label` (rows,), and two batches laid out by `form`.

    `answers` holds each prompt with its own answer, `others` the same prompts with the answer of
    the row before it in the micro-batch, cut so that no row is longer than `longest`.
    """

    form: Collator
    longest: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        answers = [row["completion_ids"] for row in rows]
        others = [answers[-1], *answers[:-1]] if len(rows) > 1 else [rows[0][NEIGHBOUR]]
        prompts = [row["prompt_ids"] for row in rows]
        room = [self.longest - len(prompt) for prompt in prompts]
        others = [other[:most] for other, most in zip(others, room, strict=True)]
        return {
            # First, as its first dimension is what transformers takes for the size of the batch.
            "label": torch.tensor([bool(row["label"]) for row in rows]),
            "answers": self._laid_out(prompts, answers),
            "others": self._laid_out(prompts, others),
        }

    def _laid_out(self, prompts: list[list[int]], answers: list[list[int]]) -> dict[str, Any]:
        pairs = list(zip(prompts, answers, strict=True))
        batch = self.form(
            [
                {"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + answer}
                for prompt, answer in pairs
            ]
        )
        # The very first token of a sequence is predicted by none.
        counts = torch.tensor([len(answer) - (not prompt) for prompt, answer in pairs])
        batch["row_of_token"] = torch.repeat_interleave(torch.arange(len(pairs)), counts)
        return batch


class FeedbackTrainer(RunTrainer, KTOTrainer):
    """Trains a decoder on answers that people liked or did not.

    The datasets hold `prompt_ids`, `completion_ids`, `label` and the column of `with_neighbours`.
    """

    def __init__(
        self, *, model: Any, collate: FeedbackRows, loss: Kto, reference: Reference, **kwargs: Any
    ) -> None:
        self.kto = loss
        self.reference = reference
        super().__init__(
            model=model,
            ref_model=reference.for_trl(model),
            data_collator=collate,
            **kwargs,
        )
        # TRL has moved it to the device; what is left of it is in `reference`.
        self.ref_model = None

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # its rows are encoded already

    def count_tokens(self, inputs: Any) -> int:
        """Real tokens of the rows; the mismatched answers are no data of their own."""
        return int(inputs["answers"]["tokens"])

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        mode = "train" if self.model.training else "eval"
        liked = inputs["label"]
        rows = len(liked)
        answers, others = inputs["answers"], inputs["others"]
        with self.reference.of(self.accelerator.unwrap_model(model)) as before:
            start, _ = self._answer_logps(before, answers, rows)
            start_others, _ = self._answer_logps(before, others, rows)
        with torch.no_grad():
            now_others, _ = self._answer_logps(model, others, rows)
        kl = (now_others - start_others).mean().clamp(min=0)
        now, balance = self._answer_logps(model, answers, rows, balanced=self.aux_loss_enabled)
        ratios = now - start
        loss = self.kto.losses(ratios, liked, kl).mean()
        if self.kto.sft_weight and bool(liked.any()):
            counts = torch.bincount(answers["row_of_token"], minlength=rows).clamp(min=1)
            loss = loss - self.kto.sft_weight * (now / counts)[liked].mean()
        if balance is not None:
            loss = loss + self.router_aux_loss_coef * balance
        self._note(mode, liked, ratios.detach(), now.detach(), kl)
        return (loss, None) if return_outputs else loss

    def _answer_logps(
        self, model: Any, batch: dict[str, Any], rows: int, balanced: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probability of each row's whole answer (rows,); with `balanced` also the
        load-balancing loss of a mixture of experts."""
        inputs = {name: value for name, value in batch.items() if name not in _OWN_KEYS}
        if balanced:
            inputs["output_router_logits"] = True
        targets = batch["shift_labels"].reshape(-1)
        places = (targets != IGNORED).nonzero().squeeze(1)
        with self.accelerator.autocast(), self.forward_autocast():
            outputs = forward_at(model, inputs, places)
        found = -functional.cross_entropy(outputs.logits.float(), targets[places], reduction="none")
        sums = found.new_zeros(rows).index_add(0, batch["row_of_token"], found)
        return sums, outputs.aux_loss if balanced else None

    def _note(
        self,
        mode: str,
        liked: torch.Tensor,
        ratios: torch.Tensor,
        logps: torch.Tensor,
        kl: torch.Tensor,
    ) -> None:
        """Keep the measures for the next log line, under TRL's names, one value a row."""
        store = self._metrics[mode]
        store["kl"].extend([kl.item()] * len(liked))
        # One copy from the device for all of them.
        rewards, sums, marks = torch.stack([self.kto.beta * ratios, logps, liked.float()]).tolist()
        for reward, logp, mark in zip(rewards, sums, marks, strict=True):
            side = "chosen" if mark else "rejected"
            store[f"rewards/{side}"].append(reward)
            store[f"logps/{side}"].append(logp)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the margin between the means of both kinds of rows."""
        store = self._metrics["train" if self.model.training else "eval"]
        sides = [store.get(f"rewards/{side}") for side in ("chosen", "rejected")]
        if all(sides):
            chosen, rejected = (sum(values) / len(values) for values in sides if values)
            store["rewards/margins"] = [chosen - rejected]
        super().log(logs, start_time)
