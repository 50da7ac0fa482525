"""Supervised fine-tuning on TRL's `SFTTrainer`, with a loss of finetui's.

What differs from TRL's trainer, beside what `RunTrainer` adds to all:
- the head multiplies trained positions only, on every device (TRL picks them out only where
  Triton runs), and neither entropy nor top-1 is computed (LIBRARIES.md);
- `eval_loss` is the mean over trained tokens, not the mean of the batches' means.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from trl import SFTTrainer

from engine.training.collate import IGNORED
from engine.training.head import forward_at
from engine.training.run_trainer import RunTrainer


class SftTrainer(RunTrainer, SFTTrainer):  # type: ignore[misc, valid-type]
    """Supervised fine-tuning of a decoder.

    `data_collator` is one of `engine.training.collate`. `measure_accuracy` adds the share of
    trained tokens whose most likely prediction is right to the evaluation. The datasets hold
    `input_ids` and `labels`.
    """

    # The loss is divided by the trained tokens of the whole step: training_step must not divide.
    loss_is_scaled_for_ga = True

    def __init__(self, *, measure_accuracy: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measure_accuracy = measure_accuracy
        self._eval_sums: dict[str, float] = {}

    # -- loss ------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Cross-entropy summed over the trained tokens, divided by `num_items_in_batch`.

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
        if self.aux_loss_enabled:
            inputs["output_router_logits"] = True
        with self.forward_autocast():
            outputs = forward_at(model, inputs, trained)
        logits = outputs.logits
        losses = functional.cross_entropy(
            logits.float(),
            targets,
            reduction="sum",
            label_smoothing=self.args.label_smoothing_factor,
        )
        count = targets.numel() if num_items_in_batch is None else num_items_in_batch
        loss = losses / torch.as_tensor(count, device=losses.device).clamp(min=1)
        if self.aux_loss_enabled:
            # The load-balancing loss of a mixture of experts is a mean per micro-batch.
            parts = 1 if num_items_in_batch is None else self.current_gradient_accumulation_steps
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / parts
        if not model.training:
            self._measure(logits, targets, losses)
        return (loss, outputs) if return_outputs else loss

    def _measure(self, logits: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> None:
        sums = self._eval_sums
        sums["loss"] = sums.get("loss", 0.0) + losses.item()
        sums["tokens"] = sums.get("tokens", 0.0) + targets.numel()
        if self.measure_accuracy:
            right = (logits.argmax(-1) == targets).sum().item()
            sums["right"] = sums.get("right", 0.0) + right

    # -- evaluation ------------------------------------------------------------------------

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        self._eval_sums = {}
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        sums = self._eval_sums
        if sums.get("tokens"):
            output.metrics[f"{metric_key_prefix}_loss"] = sums["loss"] / sums["tokens"]
            if self.measure_accuracy:
                right = sums.get("right", 0.0) / sums["tokens"]
                output.metrics[f"{metric_key_prefix}_accuracy"] = right
        return output
