"""Supervised fine-tuning on TRL's `SFTTrainer`, with a loss of finetui's.

What differs from TRL's trainer, beside what `RunTrainer` adds to all:
- the head multiplies trained positions only, on every device (TRL picks them out only where
  Triton runs), and neither entropy nor top-1 is computed (LIBRARIES.md);
- `eval_loss` is the mean over trained tokens, not the mean of the batches' means, and always plain
  cross-entropy, so that losses of different kinds can be compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from trl import SFTTrainer

from engine.models.head import forward_at
from engine.training.collate import IGNORED
from engine.training.losses.tokens import TokenObjective, asft, cross_entropy, dft, eaft, forward_kl
from engine.training.run_trainer import RunTrainer

if TYPE_CHECKING:
    from engine.training.references import Reference

PLAIN = TokenObjective()
# exp of more is no number any more; a loss like that is no prediction either.
_MOST = 700.0


class SftTrainer(RunTrainer, SFTTrainer):
    """Supervised fine-tuning of a decoder, and pre-training.

    `data_collator` is one of `engine.training.collate`. `objective` is the loss to train with,
    `reference` the model that ASFT stays close to. `measure_accuracy` adds the share of trained
    tokens whose most likely prediction is right to the evaluation, `measure_perplexity` exp(loss)
    to the log and the evaluation. The datasets hold `input_ids` and `labels`.
    """

    # The loss is divided by the trained tokens of the whole step: training_step must not divide.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        objective: TokenObjective = PLAIN,
        reference: Reference | None = None,
        measure_accuracy: bool = False,
        measure_perplexity: bool = False,
        **kwargs: Any,
    ) -> None:
        if objective.kind == "asft" and reference is None:
            raise ValueError("ASFT needs a reference model")
        super().__init__(**kwargs)
        self.objective = objective
        self.reference = reference
        self.measure_accuracy = measure_accuracy
        self.measure_perplexity = measure_perplexity
        self._eval_sums: dict[str, tuple[float, int]] = {}

    # -- loss ------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The losses of the trained tokens, summed and divided by `num_items_in_batch`.

        That number is the count of trained tokens in the whole optimiser step, so micro-batches
        of one step weigh by their tokens (as transformers does it); without it, by the batch's
        own count. A batch that trains nothing gives 0.
        """
        inputs = dict(inputs)
        inputs.pop("labels", None)
        inputs.pop("tokens", None)
        targets = inputs.pop("shift_labels").reshape(-1)
        trained = (targets != IGNORED).nonzero().squeeze(1)
        targets = targets[trained]
        losses, outputs = self.summed_loss(model, inputs, trained, targets)
        count = targets.numel() if num_items_in_batch is None else num_items_in_batch
        loss = losses / torch.as_tensor(count, device=losses.device).clamp(min=1)
        if self.aux_loss_enabled:
            # The load-balancing loss of a mixture of experts is a mean per micro-batch.
            parts = 1 if num_items_in_batch is None else self.current_gradient_accumulation_steps
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / parts
        return (loss, outputs) if return_outputs else loss

    def summed_loss(
        self, model: Any, inputs: dict[str, Any], positions: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        """The sum of the losses at `positions` of the flattened batch, and the model's outputs.

        `targets` are the tokens to predict there. In evaluation it is plain cross-entropy.
        """
        if model.training and self.objective.kind != "plain":
            return self._other_loss(model, inputs, positions, targets)
        outputs = self.student_outputs(model, inputs, positions)
        total = functional.cross_entropy(
            outputs.logits.float(),
            targets,
            reduction="sum",
            label_smoothing=self.args.label_smoothing_factor,
        )
        if not model.training:
            self.measure(outputs.logits, targets, total)
        return total, outputs

    def student_outputs(self, model: Any, inputs: dict[str, Any], positions: torch.Tensor) -> Any:
        """The outputs of the model that is trained, its logits at `positions` only."""
        if self.aux_loss_enabled:
            inputs = {**inputs, "output_router_logits": True}
        with self.forward_autocast():
            return forward_at(model, inputs, positions)

    def _other_loss(
        self, model: Any, inputs: dict[str, Any], positions: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        kind, alpha = self.objective.kind, self.objective.alpha
        smoothing = self.args.label_smoothing_factor
        anchor = None
        if self.reference is not None:
            with self.reference.of(model) as still, self.forward_autocast():
                anchor = forward_at(still, inputs, positions).logits.float()
        outputs = self.student_outputs(model, inputs, positions)
        logits = outputs.logits.float()
        if kind == "dft":
            losses = dft(logits, targets, smoothing)
        elif kind == "eaft":
            losses = eaft(logits, targets, alpha, smoothing)
        else:
            assert anchor is not None
            losses = asft(logits, targets, anchor, alpha, smoothing)
        with torch.no_grad():
            found = {"cross_entropy": cross_entropy(logits, targets).sum()}
            if anchor is not None:
                found["kl"] = forward_kl(anchor, logits).sum()
        self.note(True, targets.numel(), **found)
        return losses.sum(), outputs

    # -- measures --------------------------------------------------------------------------

    def note(self, training: bool, count: int, **sums: torch.Tensor) -> None:
        """Keep measures, each summed over `count` tokens, for the next log line or evaluation."""
        for name, value in sums.items():
            if training:
                self._metrics["train"][name].append(value.item() / max(count, 1))
            else:
                total, tokens = self._eval_sums.get(name, (0.0, 0))
                self._eval_sums[name] = (total + value.item(), tokens + count)

    def measure(self, logits: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> None:
        """Keep what an evaluation tells of a batch; `losses` is the sum over its tokens."""
        self.note(False, targets.numel(), loss=losses)
        if self.measure_accuracy:
            self.note(False, targets.numel(), accuracy=(logits.argmax(-1) == targets).sum())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.measure_perplexity and logs.get("loss", math.inf) < _MOST:
            logs["perplexity"] = math.exp(logs["loss"])
        super().log(logs, start_time)

    # -- evaluation ------------------------------------------------------------------------

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        self._eval_sums = {}
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        found = {n: total / count for n, (total, count) in self._eval_sums.items() if count}
        if self.measure_perplexity and found.get("loss", math.inf) < _MOST:
            found["perplexity"] = math.exp(found["loss"])
        output.metrics.update({f"{metric_key_prefix}_{n}": value for n, value in found.items()})
        return output
